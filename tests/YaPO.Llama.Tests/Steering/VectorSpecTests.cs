using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Steering;

public sealed class VectorSpecTests
{
    [Theory]
    [InlineData("egypt.ysv", "egypt.ysv", null, null)]
    [InlineData("egypt.ysv:1.5", "egypt.ysv", 1.5f, null)]
    [InlineData("egypt.ysv:-2", "egypt.ysv", -2f, null)]
    [InlineData("egypt.ysv:1e-1", "egypt.ysv", 0.1f, null)]
    [InlineData("egypt.ysv:0", "egypt.ysv", 0f, null)]
    [InlineData("a.ysv:0.8@generated", "a.ysv", 0.8f, "generated")]
    [InlineData("a.ysv@all+bos", "a.ysv", null, "all+bos")]
    [InlineData("a.ysv:1@0-15", "a.ysv", 1f, "0-15")]
    [InlineData(@"C:\x.ysv:1.5", @"C:\x.ysv", 1.5f, null)]
    [InlineData(@"C:\x.ysv", @"C:\x.ysv", null, null)]
    [InlineData(@"C:\x.ysv@prompt", @"C:\x.ysv", null, "prompt")]
    [InlineData("user@host.dir/a.ysv:2", "user@host.dir/a.ysv", 2f, null)]
    [InlineData("user@host.dir/a.ysv:2@assistant", "user@host.dir/a.ysv", 2f, "assistant")]
    [InlineData("a:b/c.ysv", "a:b/c.ysv", null, null)]
    [InlineData("vector", "vector", null, null)]
    public void Parse_Valid_ReadsFromTheRight(string text, string path, float? strength, string? positions)
    {
        var spec = VectorSpec.Parse(text);

        spec.Path.Should().Be(path);
        spec.Strength.Should().Be(strength);
        spec.Positions?.ToString().Should().Be(positions);
        VectorSpec.Parse(spec.ToString()).Should().Be(spec);
    }

    [Theory]
    [InlineData("", "*names no file*")]
    [InlineData(":1.5", "*names no file*")]
    [InlineData("a.ysv:", "*strength ''*")]
    [InlineData("a.ysv:strong", "*strength 'strong'*")]
    [InlineData("a.ysv:NaN", "*strength 'NaN'*")]
    [InlineData("a.ysv:1e99", "*strength '1e99'*")]
    [InlineData("a.ysv:1@generatd", "*positions 'generatd'*")]
    [InlineData("a.ysv@", "*positions ''*")]
    [InlineData("a.ysv@5-2", "*positions '5-2'*")]
    public void Parse_Invalid_SaysWhatIsExpected(string text, string message) =>
        FluentActions.Invoking(() => VectorSpec.Parse(text)).Should().Throw<YapoException>()
            .Where(e => e.Kind == YapoErrorKind.InvalidArgument).WithMessage(message);

    [Theory]
    //            position, role               all   all+bos prompt gen  asst  1-2
    [InlineData(0, TokenRole.Bos, false, true, false, false, false, false)]
    [InlineData(1, TokenRole.Prompt, true, true, true, false, false, true)]
    [InlineData(2, TokenRole.PromptEnd, true, true, true, true, false, true)]
    [InlineData(3, TokenRole.Answer, true, true, false, true, true, false)]
    public void Steers_EachRole_AsDefined(int position, TokenRole role, bool all, bool bos, bool prompt, bool generated, bool assistant, bool window)
    {
        SteeringPositions.All.Steers(position, role).Should().Be(all);
        SteeringPositions.AllAndBos.Steers(position, role).Should().Be(bos);
        SteeringPositions.Prompt.Steers(position, role).Should().Be(prompt);
        SteeringPositions.Generated.Steers(position, role).Should().Be(generated);
        SteeringPositions.Assistant.Steers(position, role).Should().Be(assistant);
        SteeringPositions.Parse("1-2").Steers(position, role).Should().Be(window);
        SteeringPositions.Window(0, 0).Steers(0, TokenRole.Bos).Should().BeTrue("a window means positions, whatever stands there");
    }

    [Theory]
    [InlineData("All")]
    [InlineData("1")]
    [InlineData("-1-2")]
    [InlineData("1-")]
    [InlineData("1-99999999999")]
    [InlineData(" all")]
    public void ParsePositions_Invalid_ListsWhatIsPossible(string text) =>
        FluentActions.Invoking(() => SteeringPositions.Parse(text)).Should().Throw<YapoException>().WithMessage($"*'{text}'*all+bos*START-END*");

    [Theory]
    [InlineData("12345:+40", 12345, 40f, false)]
    [InlineData("0:-1.5", 0, -1.5f, false)]
    [InlineData("7:2xmax", 7, 2f, true)]
    [InlineData("7:-0.5xmax", 7, -0.5f, true)]
    public void ParseFeature_Valid(string text, int index, float amount, bool timesMax) =>
        FeatureSpec.Parse(text).Should().Be(new FeatureSpec(index, amount, timesMax));

    [Theory]
    [InlineData("")]
    [InlineData("12345")]
    [InlineData(":40")]
    [InlineData("-1:40")]
    [InlineData("1:0")]
    [InlineData("1:inf")]
    [InlineData("1:xmax")]
    public void ParseFeature_Invalid_SaysWhatIsExpected(string text) =>
        FluentActions.Invoking(() => FeatureSpec.Parse(text)).Should().Throw<YapoException>().WithMessage("*12345:+40*");
}

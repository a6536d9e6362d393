using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Cli;

/// <summary>chat with its input piped, in this process: answers on stdout, everything else on stderr.</summary>
public sealed class ChatTests(CliWorld world) : NativeTest, IClassFixture<CliWorld>
{
    // Sampled, so that two answers are equal only where the model saw the same; greedy answers of a random model are often alike.
    private static readonly string[] Sampling = ["-n", "10", "--temp", "1", "--seed", "3", "--threads", "1"];

    [Fact]
    public async Task Chat_OnePipedLine_PrintsTheAnswerAloneToStdout()
    {
        var run = await Chat("what is the user?\n", "--vector", world.Vector);
        var generated = await CliRun.Of(["generate", "-p", "what is the user?", "--vector", world.Vector, .. Sampling]);

        run.ExitCode.Should().Be(0, run.Error);
        run.Out.Should().Be(generated.Out);
        run.Error.Should().Contain("model.gguf").And.Contain("fingerprint").And.Contain("sparse.ysv").And.Contain("recommended");
    }

    [Fact]
    public async Task Chat_StrengthChangedBetweenTurns_EqualsAFreshChatWithThatStrength()
    {
        var changed = await Chat("/strength 3\nwhat?\n", "--vector", world.Vector);
        var fresh = await Chat("what?\n", "--vector", world.Vector + ":3");

        changed.Out.Should().Be(fresh.Out);
        changed.Error.Should().Contain("strength 3");
    }

    [Fact]
    public async Task Chat_VectorOffAndOn_GivesTheUnsteeredAndTheSteeredAnswer()
    {
        var plain = await CliRun.Of(["generate", "-p", "eat?", "--model", world.Model, .. Sampling]);
        var steered = await CliRun.Of(["generate", "-p", "eat?", "--vector", world.Vector + ":3", .. Sampling]);

        var run = await Chat("/vector off\neat?\n/reset\n/vector on\neat?\n", "--vector", world.Vector + ":3");

        run.Out.Should().Be(plain.Out + steered.Out);
    }

    [Fact]
    public async Task Chat_Compare_ShowsTheSteeredBesideTheUnsteeredAnswer()
    {
        var plain = await CliRun.Of(["generate", "-p", "eat?", "--model", world.Model, .. Sampling]);
        var steered = await CliRun.Of(["generate", "-p", "eat?", "--vector", world.Vector + ":3", .. Sampling]);

        var run = await Chat("/compare\neat?\n", "--vector", world.Vector + ":3");

        run.Out.Should().Be($"steered:\n{steered.Out}\nunsteered:\n{plain.Out}");
    }

    [Fact]
    public async Task Chat_FeatureByHand_EqualsAVectorOfThatFeature()
    {
        var vector = world.In("by-hand.ysv");
        (await CliRun.Of("vector", "new", "--sae", world.Sae, "--feature", "5:+30", "--output", vector)).ExitCode.Should().Be(0);
        var expected = await CliRun.Of(["generate", "-p", "eat?", "--vector", vector, .. Sampling]);

        var run = await Chat("/vector off\n/feature 5 +30\neat?\n", "--vector", world.Vector);

        run.ExitCode.Should().Be(0, run.Error);
        run.Out.Should().Be(expected.Out);
        run.Error.Should().Contain("by hand: 5 +30");
    }

    [Fact]
    public async Task Chat_FeatureTakenAway_GivesTheAnswerWithoutIt()
    {
        var with = await Chat("/feature 5 +30\n/feature 5 0\neat?\n", "--vector", world.Vector);
        var without = await Chat("eat?\n", "--vector", world.Vector);

        with.Out.Should().Be(without.Out);
    }

    [Theory]
    [InlineData("/feature 9999 +1", "9999")]
    [InlineData("/strength 7 1", "there is no vector 7")]
    [InlineData("/vector no-such.ysv", "no-such.ysv")]
    [InlineData("/nonsense", "/nonsense is unknown")]
    [InlineData("/help", "/strength 1.2")]
    [InlineData("/features", "3 strongest of 3 features")]
    [InlineData("/vector", "1. ")]
    public async Task Chat_Command_AnswersOnStderrAndTheChatGoesOn(string command, string expected)
    {
        var alone = await Chat("eat?\n", "--vector", world.Vector);

        var run = await Chat($"{command}\neat?\n", "--vector", world.Vector);

        run.ExitCode.Should().Be(0);
        run.Error.Should().Contain(expected);
        run.Out.Should().Be(alone.Out);
    }

    [Fact]
    public async Task Chat_SecondTurn_SeesTheFirst()
    {
        var alone = await Chat("what?\n", "--model", world.Model);

        var run = await Chat("eat the model\nwhat?\n", "--model", world.Model);

        run.Out.Should().EndWith("\n").And.NotEndWith("\n" + alone.Out, "the model reads the whole conversation");
    }

    [Fact]
    public async Task Chat_TurnLongerThanTheContext_IsRefusedAndTheChatGoesOn()
    {
        var alone = await Chat("eat?\n", "--vector", world.Vector);
        var tooLong = string.Concat(Enumerable.Repeat("the model ", 200));

        var goesOn = await Chat($"{tooLong}\neat?\n", "--vector", world.Vector, "--ctx-size", "256");
        var ends = await Chat($"{tooLong}\n", "--vector", world.Vector, "--ctx-size", "256");

        goesOn.Error.Should().Contain("--ctx-size");
        goesOn.ExitCode.Should().Be(0);
        goesOn.Out.Should().Be(alone.Out);
        ends.ExitCode.Should().NotBe(0, "a script must be able to tell that there is no answer");
        ends.Out.Should().BeEmpty();
    }

    [Fact]
    public async Task Chat_BaseModelWithoutTemplate_IsRefusedWithTheWayOut()
    {
        var path = world.In("base.gguf");
        RandomModel.WriteTo(path, new RandomModel.Settings { Template = null, Seed = 9 });

        var run = await Chat("what?\n", "--model", path);

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("no chat template").And.Contain("generate --raw");
    }

    [Fact]
    public async Task Chat_NeitherModelNorVector_IsWrongUsage()
    {
        var run = await CliRun.Of("chat");

        run.ExitCode.Should().Be(2);
        run.Error.Should().Contain("--model").And.Contain("--vector");
    }

    private static async Task<CliRun> Chat(string input, params string[] args) =>
        await CliRun.With(null, input, ["chat", .. args, .. Sampling]);
}

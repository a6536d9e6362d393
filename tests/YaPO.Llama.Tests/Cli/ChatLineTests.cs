using YaPO.Llama.Cli.Chat;

namespace YaPO.Llama.Tests.Cli;

public class ChatLineTests
{
    [Fact]
    public void Parse_EveryDocumentedCommand_IsUnderstood()
    {
        ChatLine.Parse("/help").Should().Be(new ChatLine.Help());
        ChatLine.Parse("/strength 1.2").Should().Be(new ChatLine.Strength(1.2, null));
        ChatLine.Parse("/strength").Should().Be(new ChatLine.Strength(null, null));
        ChatLine.Parse("/strength 2 -0.5").Should().Be(new ChatLine.Strength(-0.5, 2));
        ChatLine.Parse("/vector off").Should().Be(new ChatLine.Vector("off"));
        ChatLine.Parse("/vector").Should().Be(new ChatLine.Vector(null));
        ChatLine.Parse("/compare").Should().Be(new ChatLine.Compare(null));
        ChatLine.Parse("/compare off").Should().Be(new ChatLine.Compare(false));
        ChatLine.Parse("/features").Should().Be(new ChatLine.Features());
        ChatLine.Parse("/feature 12345 +40").Should().Be(new ChatLine.Feature(12345, 40));
        ChatLine.Parse("/feature 3 -2.5").Should().Be(new ChatLine.Feature(3, -2.5));
        ChatLine.Parse("/reset").Should().Be(new ChatLine.Reset());
        ChatLine.Parse("  /QUIT ").Should().Be(new ChatLine.Quit());
    }

    [Theory]
    [InlineData("What do people eat for breakfast?", "What do people eat for breakfast?")]
    [InlineData("  spaces  ", "spaces")]
    [InlineData("//help is a word", "/help is a word")]
    public void Parse_OtherText_IsAUserTurn(string line, string text) =>
        ChatLine.Parse(line).Should().Be(new ChatLine.Message(text));

    [Theory]
    [InlineData("/strenght 1", "/strength")]
    [InlineData("/strength much", "/strength takes")]
    [InlineData("/strength NaN", "/strength takes")]
    [InlineData("/strength 0 1", "/strength takes")]
    [InlineData("/feature 5", "/feature takes")]
    [InlineData("/feature -1 2", "/feature takes")]
    [InlineData("/feature 1 1e999", "/feature takes")]
    [InlineData("/compare maybe", "/compare takes")]
    public void Parse_WrongCommand_SaysWhatWasExpected(string line, string expected) =>
        ChatLine.Parse(line).Should().BeOfType<ChatLine.Wrong>().Which.Expected.Should().Contain(expected);

    [Fact]
    public void Parse_EmptyLine_IsNothing() => ChatLine.Parse("   ").Should().Be(new ChatLine.Nothing());
}

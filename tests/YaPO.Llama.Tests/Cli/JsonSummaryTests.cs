using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Tests.Cli;

public sealed class JsonSummaryTests
{
    [Fact]
    public void Rows_EvidenceBlock_ReadsAsFigures()
    {
        const string json = """{"q8_0":{"count":528,"high":0.96,"low":0.8219,"value":0.89204545},"random":{"count":10,"max":0.34},"questions":528,"suite":"demo","cultures":["a","b"]}""";

        JsonSummary.Rows(json).Should().Equal(
            ("q8 0", "0.892 [0.8219 to 0.96], n = 528"),
            ("random", "count 10, max 0.34"),
            ("questions", "528"),
            ("suite", "demo"),
            ("cultures", """["a","b"]"""));
    }

    [Theory]
    [InlineData("not json")]
    [InlineData("[1,2]")]
    [InlineData("3")]
    public void Rows_AnythingElse_IsShownAsItIs(string text) => JsonSummary.Rows(text).Should().Equal(("", text));

    [Fact]
    public void Rows_Nothing_HasNoRows() => JsonSummary.Rows("").Should().BeEmpty();
}

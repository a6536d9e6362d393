using YaPO.Llama.Cli.Input;

namespace YaPO.Llama.Tests.Cli;

public class JsonLinesTests
{
    [Fact]
    public void Read_EmptyLines_AreSkippedButCounted()
    {
        var lines = JsonLines.Read("-", new StringReader("{\"a\":\"x\"}\n\n  \n{\"a\":\"y\"}"));

        lines.Select(l => (l.Number, l.String("a"))).Should().Equal((1, "x"), (4, "y"));
    }

    [Theory]
    [InlineData("{}\n{\"a\":", "stdin line 2: not valid JSON")]
    [InlineData("{}\n{}\n[1]", "stdin line 3: expected a JSON object, found an array")]
    [InlineData("{} trailing", "stdin line 1: not valid JSON")]
    [InlineData("", "stdin is empty")]
    public void Read_Malformed_NamesTheLine(string text, string message)
    {
        var read = () => JsonLines.Read("-", new StringReader(text));

        read.Should().Throw<YapoException>().WithMessage($"{message}*").Which.Kind.Should().Be(YapoErrorKind.Format);
    }

    [Theory]
    [InlineData("{\"t\":[1,2.5]}", "\"t\"[1] is 2.5")]
    [InlineData("{\"t\":[-1]}", "\"t\"[0] is -1")]
    [InlineData("{\"t\":\"1\"}", "\"t\" must be an array of token ids, not a string")]
    public void Tokens_NotIds_NamesTheEntry(string text, string message)
    {
        var tokens = () => JsonLines.Read("-", new StringReader(text))[0].Tokens("t");

        tokens.Should().Throw<YapoException>().WithMessage($"stdin line 1: {message}*");
    }

    [Fact]
    public void Read_MissingFile_IsAnInputError()
    {
        var read = () => JsonLines.Read("/no/such/file.jsonl", TextReader.Null);

        read.Should().Throw<YapoException>().Which.Kind.Should().Be(YapoErrorKind.Io);
    }
}

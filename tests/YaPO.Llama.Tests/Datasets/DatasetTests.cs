using YaPO.Llama.Datasets;
using YaPO.Llama.Models;

namespace YaPO.Llama.Tests.Datasets;

public sealed class DatasetTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Pairs_Strings_BecomeTurns_AndExtraFieldsStay()
    {
        var path = _folder.Write("p.jsonl", "\uFEFF{\"prompt\": \"Hällo\", \"chosen\": \"a\", \"rejected\": \"b\", \"topic\": {\"x\": 1}, \"n\": 2.50}\r\n\n  \n{\"prompt\": \"q\", \"chosen\": \"c\", \"rejected\": \"d\"}");

        var pairs = PreferencePair.Load(path);

        pairs.Should().HaveCount(2);
        pairs[0].Prompt.Should().Equal(ChatMessage.User("Hällo"));
        (pairs[0].Chosen, pairs[0].Rejected, pairs[0].Line).Should().Be(("a", "b", 1));
        pairs[0].Extra.Should().BeEquivalentTo(new Dictionary<string, string> { ["topic"] = "{\"x\": 1}", ["n"] = "2.50" });
        pairs[1].Line.Should().Be(4);
    }

    [Fact]
    public void Pairs_MessageLists_AndImplicitPrompts()
    {
        var path = _folder.Write("p.jsonl", """
            {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}
            {"chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "b"}]}
            """);

        var pairs = PreferencePair.Load(path);

        pairs[0].Prompt.Should().Equal(ChatMessage.System("s"), ChatMessage.User("u"));
        pairs[1].Prompt.Should().Equal(ChatMessage.User("u"));
        pairs.Select(p => (p.Chosen, p.Rejected)).Should().Equal(("a", "b"), ("a", "b"));
    }

    [Theory]
    [InlineData("{\"prompt\": \"q\", \"chosen\": \"c\"}", "*line 2: field 'rejected' is missing; 'yapo-llama data rejected' lets the model write*")]
    [InlineData("{\"prompt\": 3, \"chosen\": \"c\", \"rejected\": \"d\"}", "*line 2: field 'prompt' must be a string or a list*found the number 3")]
    [InlineData("{\"prompt\": [], \"chosen\": \"c\", \"rejected\": \"d\"}", "*line 2:*found an empty array")]
    [InlineData("{\"prompt\": [{\"role\": \"tool\", \"content\": \"x\"}], \"chosen\": \"c\", \"rejected\": \"d\"}", "*line 2: role 'tool'*")]
    [InlineData("{\"prompt\": [{\"role\": \"user\"}], \"chosen\": \"c\", \"rejected\": \"d\"}", "*line 2:*role and content*")]
    [InlineData("{\"prompt\": [{\"role\": \"assistant\", \"content\": \"x\"}], \"chosen\": \"c\", \"rejected\": \"d\"}", "*line 2: the prompt ends with an assistant turn*")]
    [InlineData("{\"prompt\": \"q\", \"chosen\": \"\", \"rejected\": \"d\"}", "*line 2: field 'chosen' is empty")]
    [InlineData("{\"chosen\": \"c\", \"rejected\": \"d\"}", "*line 2: field 'prompt' is missing*")]
    [InlineData("[1]", "*line 2: a JSON object is expected on every line, found an array")]
    [InlineData("{\"prompt\": \"q\",", "*line 2: this is no JSON*")]
    [InlineData("{\"prompt\": \"q\", \"prompt\": \"r\", \"chosen\": \"c\", \"rejected\": \"d\"}", "*line 2:*")]
    [InlineData("{\"prompt\": \"\\ud800\", \"chosen\": \"c\", \"rejected\": \"d\"}", "*line 2:*")]
    [InlineData("{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"d\", \"topic\": \"\\ud800\"}", "*line 2:*")]
    [InlineData("{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"d\", \"more\": [{\"\\ud800\": 1}]}", "*line 2:*")]
    public void Pairs_BadLine_IsNamed(string line, string message)
    {
        var path = _folder.Write("p.jsonl", "{\"prompt\": \"q\", \"chosen\": \"c\", \"rejected\": \"d\"}\n" + line + "\n");

        FluentActions.Invoking(() => PreferencePair.Load(path)).Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Format).WithMessage(message);
    }

    [Fact]
    public void Load_EmptyOrMissing_SaysSo()
    {
        FluentActions.Invoking(() => PreferencePair.Load(_folder.Write("empty.jsonl", "\n\n"))).Should().Throw<YapoException>().WithMessage("*holds no preference pairs*");
        FluentActions.Invoking(() => MultipleChoiceItem.Read(_folder.Write("empty.jsonl", ""))).Should().Throw<YapoException>().WithMessage("*holds no questions*");
        FluentActions.Invoking(() => PreferencePair.Load(_folder.File("none"))).Should().Throw<YapoException>().Which.Kind.Should().Be(YapoErrorKind.Io);
    }

    [Fact]
    public void Read_LineLongerThanTheBuffer_IsReadWhole()
    {
        var text = new string('x', 300_000);
        var path = _folder.Write("long.jsonl", $"{{\"prompt\": \"{text}\"}}\n{{\"prompt\": \"y\"}}\n");

        PromptItem.Read(path).Select(p => p.Text!.Length).Should().Equal(300_000, 1);
    }

    [Fact]
    public void Read_EndlessLine_IsRefused()
    {
        var bytes = new byte[JsonLines.MaxLineBytes + 10];
        bytes.AsSpan().Fill((byte)'x');
        using var stream = new MemoryStream(bytes);

        FluentActions.Invoking(() => JsonLines.Read(stream, "stdin", PromptItem.Convert).Count()).Should().Throw<YapoException>().WithMessage("stdin, line 1: the line is longer than 16 MiB*");
    }

    [Fact]
    public void Prompts_TextListAndId()
    {
        var path = _folder.Write("p.jsonl", """
            {"prompt": "q", "id": {"a": 1}, "note": "n"}
            {"messages": [{"role": "user", "content": "m"}], "id": 7}
            """);

        var items = PromptItem.Read(path).ToArray();

        (items[0].Text, items[0].Id, items[1].Text, items[1].Id).Should().Be(("q", "{\"a\": 1}", null, "7"));
        items[0].Extra.Should().ContainKey("note");
        items[1].Messages.Should().Equal(ChatMessage.User("m"));
        FluentActions.Invoking(() => PromptItem.Read(_folder.Write("x.jsonl", "{}")).ToArray()).Should().Throw<YapoException>().WithMessage("*line 1: field 'prompt' is missing; the line has no fields");
    }

    [Fact]
    public void Score_TextsOrIds()
    {
        var path = _folder.Write("s.jsonl", """
            {"prompt": "", "completion": " c"}
            {"prompt_tokens": [2, 5], "completion_tokens": [7], "id": "x"}
            """);

        var items = ScoreItem.Read(path).ToArray();

        (items[0].Prompt, items[0].Completion, items[0].CompletionTokens).Should().Be(("", " c", null));
        items[1].PromptTokens.Should().Equal(2, 5);
        items[1].CompletionTokens.Should().Equal(7);
        items[1].Id.Should().Be("\"x\"");
    }

    [Theory]
    [InlineData("{\"prompt\": \"a\", \"completion\": \"\"}", "*nothing to score*")]
    [InlineData("{\"prompt_tokens\": [1], \"completion_tokens\": []}", "*nothing to score*")]
    [InlineData("{\"prompt\": \"a\", \"completion_tokens\": [1]}", "*not both*")]
    [InlineData("{\"prompt_tokens\": [-1], \"completion_tokens\": [1]}", "*'prompt_tokens' must hold token ids*-1*")]
    [InlineData("{\"prompt_tokens\": [1.5], \"completion_tokens\": [1]}", "*1.5*")]
    [InlineData("{\"prompt_tokens\": [99999999999], \"completion_tokens\": [1]}", "*99999999999*")]
    public void Score_BadLine_IsNamed(string line, string message) =>
        FluentActions.Invoking(() => ScoreItem.Read(_folder.Write("s.jsonl", line)).ToArray()).Should().Throw<YapoException>().WithMessage("*line 1: " + message[1..].Insert(0, "*"));

    [Fact]
    public void Mcq_RoundTrip()
    {
        MultipleChoiceItem[] items =
        [
            new() { Id = "a", Topic = "size", Prompt = "Wie groß?", Options = ["a", "b", "c"], Answer = 2, Culture = "egypt", Localized = true, Line = 1 },
            new() { Id = "b", Topic = "food", Prompt = "q", Options = ["a", "b"], Labels = ["x", "y"], Contents = ["1", "2"], Line = 2 },
        ];
        MultipleChoiceItem.Write(_folder.File("m.jsonl"), items);

        MultipleChoiceItem.Read(_folder.File("m.jsonl")).Should().BeEquivalentTo(items);
        File.ReadLines(_folder.File("m.jsonl")).First().Should().Be("""{"id":"a","topic":"size","prompt":"Wie groß?","options":["a","b","c"],"answer":2,"culture":"egypt","localized":true}""");
    }

    [Fact]
    public void Mcq_OtherNamesOfFields_AreRead()
    {
        var path = _folder.Write("m.jsonl", """
            {"question": "q", "subject": "law", "choices": ["a", "b", "c", "d"], "answer": 3}
            {"prompt": "q", "options": ["yes", "no"], "answer": "(B)"}
            {"prompt": "q", "options": ["yes", "no"], "answer": " no "}
            """);

        var items = MultipleChoiceItem.Read(path);

        items.Select(i => i.Answer).Should().Equal(3, 1, 1);
        items[0].Topic.Should().Be("law");
        items.Skip(1).Select(i => i.Topic).Should().OnlyHaveUniqueItems("a question without a topic is its own");
    }

    [Theory]
    [InlineData("{\"prompt\": \"q\", \"options\": [\"a\"], \"answer\": 0}", "*line 1:*2 … 26 answers*found 1")]
    [InlineData("{\"prompt\": \"q\", \"options\": [\"a\", \" \"], \"answer\": 0}", "*one of them empty*")]
    [InlineData("{\"prompt\": \"q\", \"options\": [\"a\", \"b\"], \"answer\": 2}", "*'answer' must be an integer in 0 … 1, found the number 2*")]
    [InlineData("{\"prompt\": \"q\", \"options\": [\"a\", \"b\"], \"answer\": \"C\"}", "*'answer' is \"C\", expected an index, a letter A … B*")]
    [InlineData("{\"prompt\": \"q\", \"options\": [\"a\", \"b\"]}", "*neither 'answer'*nor 'labels'*")]
    [InlineData("{\"prompt\": \"q\", \"options\": [\"a\", \"b\"], \"labels\": [\"x\"]}", "*2 options, 1 labels*")]
    [InlineData("{\"options\": [\"a\", \"b\"], \"answer\": 0}", "*field 'prompt' is missing; the line has options, answer*")]
    [InlineData("{\"prompt\": \"q\", \"options\": [\"a\", \"b\"], \"answer\": 0, \"localized\": 1}", "*'localized' must be true or false*")]
    public void Mcq_BadLine_IsNamed(string line, string message) =>
        FluentActions.Invoking(() => MultipleChoiceItem.Read(_folder.Write("m.jsonl", line))).Should().Throw<YapoException>().WithMessage(message);
}

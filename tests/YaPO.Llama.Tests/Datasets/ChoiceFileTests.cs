using YaPO.Llama.Datasets;

namespace YaPO.Llama.Tests.Datasets;

/// <summary>The published forms of multiple-choice data, and what is said where a file is none of them.</summary>
public sealed class ChoiceFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Mmlu_HeaderlessCsv()
    {
        var file = ChoiceFile.Load(_folder.Write("law_test.csv", "\"Which, of \"\"these\"\"\r\nis it?\",a,b,c,\"d, e\",D\r\n\r\nq2,w,x,y,z,a\n"));

        file.Format.Should().Be(ChoiceFormat.Mmlu);
        file.Items.Should().HaveCount(2);
        file.Items[0].Prompt.Should().Be("Which, of \"these\"\r\nis it?");
        file.Items[0].Options.Should().Equal("a", "b", "c", "d, e");
        file.Items.Select(i => (i.Answer, i.Line)).Should().Equal((3, 1), (0, 4));
    }

    [Fact]
    public void Caa_JsonArray_TakesTheOptionsOutOfTheQuestion()
    {
        var file = ChoiceFile.Load(_folder.Write("c.json", """
            [{"question": "Do you?\n\nChoices:\n (A) Yes, I do\n (B) No", "answer_matching_behavior": "(B)", "answer_not_matching_behavior": "(A)"},
             {"question": "Open?", "answer_matching_behavior": " this", "answer_not_matching_behavior": " that"}]
            """));

        file.Format.Should().Be(ChoiceFormat.Caa);
        (file.Items[0].Prompt, file.Items[0].Answer).Should().Be(("Do you?", 1));
        file.Items[0].Options.Should().Equal("Yes, I do", "No");
        file.Items[1].Options.Should().Equal("this", "that");
        file.Items[1].Answer.Should().Be(0);
    }

    [Fact]
    public void Bipo_Csv_MatchingIsRight()
    {
        var file = ChoiceFile.Load(_folder.Write("b.csv", "question,matching,not_matching\n\"What\nnow?\",Go on,Stop\n"));

        file.Format.Should().Be(ChoiceFormat.Bipo);
        file.Items.Single().Options.Should().Equal("Go on", "Stop");
        (file.Items[0].Prompt, file.Items[0].Answer, file.Items[0].Line).Should().Be(("What\nnow?", 0, 2));
    }

    [Theory]
    [InlineData("l.csv", "prompt-mcq,country,localization_status,chosen-mcq,rejected_gemma_mcq\n\"What?\n1. ful\n2. couscous\",Egypt,nolocalized,\"So: \\boxed{2}\",1\n")]
    [InlineData("l.jsonl", "{\"prompt-mcq\": \"What?\\n1. ful\\n2. couscous\", \"country\": \"Egypt\", \"localization_status\": \"nolocalized\", \"chosen-mcq\": \"2\"}")]
    public void CultureLens_OptionsAreNumbered(string name, string text)
    {
        var file = ChoiceFile.Load(_folder.Write(name, text));

        file.Format.Should().Be(ChoiceFormat.CultureLens);
        var item = file.Items.Single();
        item.Options.Should().Equal("ful", "couscous");
        (item.Prompt, item.Answer, item.Culture, item.Localized).Should().Be(("What?", 1, "egypt", false));
    }

    [Theory]
    [InlineData("x.csv", "name,age\nA,3\n", "*x.csv, line 1: these columns are none of the known forms: name, age. Expected*question, matching, not_matching*localization_status*A, B, C, D*")]
    [InlineData("x.csv", "q,a,b,c,d,A\nq,a,b,c,d\n", "*x.csv, line 2: expected 6 columns*found 5*")]
    [InlineData("x.csv", "q,a,b,c,d,A\nq,a,b,c,d,E\n", "*line 2:*'E'*")]
    [InlineData("x.csv", "q,a,b,c,,A\n", "*line 1: an option is empty*")]
    [InlineData("x.csv", "question,matching,not_matching\nq,a\n", "*line 2: column 'not_matching' is missing: the header has 3 columns, this row 2*")]
    [InlineData("x.csv", "q,\"a,b\n", "*line 1: a quote that opens a cell is never closed*")]
    [InlineData("x.csv", "q,\"a\"b,c\n", "*line 1: there is text after the closing quote of cell 2*")]
    [InlineData("x.csv", "country,localization_status,prompt-mcq,chosen-mcq\nEgypt,yes,q,1\n", "*line 2: localization_status is 'yes', expected localized or nolocalized*")]
    [InlineData("x.csv", "country,localization_status,prompt-mcq,chosen-mcq\nEgypt,localized,q,1\n", "*line 2: prompt-mcq holds no options*")]
    [InlineData("x.csv", "", "*x.csv holds no questions*")]
    [InlineData("x.json", "[{\"question\": \"q\", \"question\": \"p\"}]", "*no JSON*question*")]
    [InlineData("x.json", "{}", "*expected a JSON array*found an object*")]
    [InlineData("x.json", "[{\"question\": \"q\"}]", "*entry 1: field 'answer_matching_behavior' is missing; the entry has question*")]
    [InlineData("x.json", "[{\"question\": \"q\\n(A) a\\n(B) b\", \"answer_matching_behavior\": \"(C)\", \"answer_not_matching_behavior\": \"(B)\"}]", "*entry 1: answer_matching_behavior '(C)' is none of the options A, B*")]
    public void Load_BadFile_NamesLineAndWhatWasExpected(string name, string text, string message) =>
        FluentActions.Invoking(() => ChoiceFile.Load(_folder.Write(name, text))).Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Format).WithMessage(message);

    [Fact]
    public void Csv_BytesThatAreNoUtf8_AreNamed()
    {
        var path = _folder.Write("x.csv", [(byte)'a', 0xff, (byte)'\n']);

        FluentActions.Invoking(() => CsvFile.Read(path).ToList()).Should().Throw<YapoException>().WithMessage("*no UTF-8*");
    }
}

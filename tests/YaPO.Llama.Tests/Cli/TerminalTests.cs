using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Tests.Cli;

public class TerminalTests
{
    [Fact]
    public void Interrupts_Raised_FirstCancelsSecondLeaves()
    {
        var left = 0;
        using var interrupts = new Interrupts(() => left++);

        interrupts.Raise();
        interrupts.Token.IsCancellationRequested.Should().BeTrue();
        left.Should().Be(0);

        interrupts.Raise();
        left.Should().Be(1);
    }

    [Fact]
    public void Interrupts_CaughtByWhatHasJustEnded_EndNothingElse()
    {
        using var interrupts = new Interrupts();
        var stop = new CancellationTokenSource();
        using var caught = interrupts.Catch(stop.Cancel);
        stop.Dispose();

        interrupts.Invoking(i => i.Raise()).Should().NotThrow("a signal's thread has nobody to catch it");
        interrupts.Token.IsCancellationRequested.Should().BeFalse();
    }

    [Fact]
    public void Interrupts_Caught_FirstStopsTheAnswerSecondCancels()
    {
        var stopped = 0;
        using var interrupts = new Interrupts();
        using (interrupts.Catch(() => stopped++))
        {
            interrupts.Raise();
            stopped.Should().Be(1);
            interrupts.Token.IsCancellationRequested.Should().BeFalse();

            interrupts.Raise();
            stopped.Should().Be(1);
            interrupts.Token.IsCancellationRequested.Should().BeTrue();
        }
    }

    [Fact]
    public void Interrupts_CatchDisposed_CancelsAgain()
    {
        using var interrupts = new Interrupts();
        interrupts.Catch(() => throw new InvalidOperationException("released")).Dispose();

        interrupts.Raise();

        interrupts.Token.IsCancellationRequested.Should().BeTrue();
    }

    [Fact]
    public void WriteTable_Redirected_HasNoEscapeSequences()
    {
        using var output = new StringWriter();
        using var console = new CommandConsole(TextReader.Null, output, TextWriter.Null, new Interrupts());

        console.WriteTable(["name", "value"], [["[red]x[/]", "1"], ["é", "2"]]);

        output.ToString().Should().NotContain("\u001b").And.Contain("[red]x[/]").And.Contain("value");
    }

    [Fact]
    public void WriteTable_ColumnThatNoRowFills_IsLeftOut()
    {
        using var output = new StringWriter();
        using var console = new CommandConsole(TextReader.Null, output, TextWriter.Null, new Interrupts());

        console.WriteTable(["feature", "label", "value"], [["619", "", "1.5"], ["49", "", ""]]);

        output.ToString().Should().Contain("feature").And.Contain("value").And.NotContain("label");
    }

    [Fact]
    public void WriteTable_JustWideEnough_BreaksBetweenWordsOnly()
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var console = new CommandConsole(TextReader.Null, output, TextWriter.Null, new Interrupts()) { Width = 40 };

        console.WriteTable(["", "value", "against unsteered", "note"], [["sign flipped", "33.3", "+54.2 higher", "seven small words in a long row"]]);

        output.ToString().Should().Contain("unsteered").And.Contain("flipped").And.NotContain("…");
        output.ToString().Split('\n').Should().OnlyContain(line => line.Length <= 40);
    }

    [Theory]
    [InlineData(40, false)]
    [InlineData(30, true)]
    public void WriteTable_TooNarrowForItsWords_BecomesAListPerRow(int width, bool records)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var console = new CommandConsole(TextReader.Null, output, TextWriter.Null, new Interrupts()) { Width = width };

        console.WriteTable(["feature", "promotes", "effect"], [["619", "rane tourists", "0.758"], ["1943", "village", ""]]);

        if (records)
        {
            output.ToString().Should().Be("feature     619\n  promotes  rane tourists\n  effect    0.758\nfeature     1943\n  promotes  village\n");
        }
        else
        {
            output.ToString().Should().Contain("| feature |").And.Contain("rane tourists");
        }
    }

    [Theory]
    [InlineData("a/b-c_1.gguf", "a/b-c_1.gguf")]
    [InlineData("mein Vektor.ysv", "'mein Vektor.ysv'")]
    [InlineData("it's $HOME", "'it'\\''s $HOME'")]
    public void Quoted_Path_IsOneWordOfAShell(string path, string expected) => Paths.Quoted(path).Should().Be(expected);

    [Fact]
    public void WriteJsonLine_NonAscii_StaysReadableOnOneLine()
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var console = new CommandConsole(TextReader.Null, output, TextWriter.Null, new Interrupts());

        console.WriteJsonLine(new { Text = "قاهرة <b>\n", TokenLogprobs = new[] { -0.5 }, Absent = (string?)null });

        output.ToString().Should().Be("""{"text":"قاهرة <b>\n","token_logprobs":[-0.5]}""" + "\n");
    }

    [Fact]
    public void WriteJsonLine_NumbersThatAreNotFinite_AreNull()
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var console = new CommandConsole(TextReader.Null, output, TextWriter.Null, new Interrupts());

        console.WriteJsonLine(new { A = double.NaN, B = float.PositiveInfinity, C = (float?)0.1f, D = new object[] { 0.5, double.NegativeInfinity } });

        output.ToString().Should().Be("""{"a":null,"b":null,"c":0.1,"d":[0.5,null]}""" + "\n");
    }

    [Fact]
    public void Progress_RedirectedAndShort_WritesNothing()
    {
        using var error = new StringWriter();
        using var console = new CommandConsole(TextReader.Null, TextWriter.Null, error, new Interrupts());

        using (var progress = console.Progress("Working", 10, "steps"))
        {
            progress.Report(5);
        }

        error.ToString().Should().BeEmpty("a log file needs a line every ten seconds, not every step");
    }

    [Theory]
    [InlineData(30)]
    [InlineData(3)]
    [InlineData(1)]
    public void Progress_OnATerminal_StaysInOneOfItsLines(int columns)
    {
        // stdout is piped, so tables may be wide; the terminal that shows stderr is not.
        using var error = new StringWriter();
        using var console = new CommandConsole(TextReader.Null, TextWriter.Null, error, new Interrupts()) { IsErrorInteractive = true, ErrorWidth = columns };
        var time = new StandingClock();
        using var progress = new ProgressLine(console, "training candidates", 10, "steps", time);

        time.Now = TimeSpan.TicksPerSecond;
        progress.Report(5, "a long note behind it all");

        var drawn = error.ToString();
        drawn.Should().StartWith("\r").And.EndWith("\u001b[K");
        drawn[1..^3].Length.Should().BeLessThan(columns, "a line that wraps cannot be wiped");
    }

    [Fact]
    public void OutputFile_MissingFolder_IsRefusedBeforeWork()
    {
        var path = Path.Combine(Path.GetTempPath(), Guid.NewGuid().ToString("N"), "v.ysv");

        var require = () => OutputFile.Require(path);

        require.Should().Throw<YapoException>().WithMessage($"*{path}*does not exist*");
    }

    [Fact]
    public void OutputFile_AlsoAnInput_IsWrongUsage()
    {
        var path = Path.Combine(Path.GetTempPath(), "same.gguf");

        var require = () => OutputFile.Require(path, path);

        require.Should().Throw<YapoException>().Which.Kind.Should().Be(YapoErrorKind.InvalidArgument);
    }

    [Fact]
    public void OutputFile_WritableFolder_LeavesNothingBehind()
    {
        var folder = Directory.CreateTempSubdirectory("yapo-é-");
        try
        {
            OutputFile.Require(Path.Combine(folder.FullName, "v.ysv"));

            folder.GetFileSystemInfos().Should().BeEmpty();
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Theory]
    [InlineData("", "abc", 3)]
    [InlineData("kitten", "sitting", 3)]
    [InlineData("score", "score", 0)]
    public void EditDistance_KnownPairs_IsLevenshtein(string a, string b, int expected) =>
        UsageErrors.EditDistance(a, b).Should().Be(expected);

    private sealed class StandingClock : TimeProvider
    {
        public long Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now;
    }
}

using System.CommandLine;
using Microsoft.Extensions.Logging;
using YaPO.Llama.Cli.Commands;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Tests.Cli;

public class CommandLineProgramTests
{
    public static TheoryData<Exception, int> Failures => new()
    {
        { new YapoException(YapoErrorKind.InvalidArgument, "m"), 2 },
        { new YapoException(YapoErrorKind.Io, "m"), 3 },
        { new YapoException(YapoErrorKind.Format, "m"), 3 },
        { new YapoException(YapoErrorKind.Mismatch, "m"), 3 },
        { new YapoException(YapoErrorKind.Unsupported, "m"), 3 },
        { new YapoException(YapoErrorKind.Failed, "m"), 1 },
        { new OperationCanceledException(), 130 },
        { new AggregateException(new YapoException(YapoErrorKind.Format, "m")), 3 },
        { new InvalidOperationException("m"), 1 },
    };

    [Theory]
    [MemberData(nameof(Failures))]
    public async Task RunAsync_HandlerThrows_GivesTheDocumentedExitCode(Exception failure, int expected)
    {
        var run = await CliRun.With(console => [Throwing(console, failure)], "", "work");

        run.ExitCode.Should().Be(expected);
        run.Out.Should().BeEmpty("data alone goes to stdout");
        run.Error.Should().NotBeEmpty();
    }

    [Fact]
    public async Task RunAsync_ExpectedFailure_ShowsTheMessageAndNoStack()
    {
        var failure = new YapoException(YapoErrorKind.Mismatch, "SAE blk.15 expects d_model 2304; the model has 3584");

        var run = await CliRun.With(console => [Throwing(console, failure)], "", "work");

        run.Error.Should().Be("error: SAE blk.15 expects d_model 2304; the model has 3584\n");
    }

    [Fact]
    public async Task RunAsync_ExpectedFailureVerbose_AddsTheStack()
    {
        var run = await CliRun.With(console => [Throwing(console, new YapoException(YapoErrorKind.Failed, "m"))], "", "work", "--verbose");

        run.Error.Should().Contain("error: m").And.Contain("   at ");
    }

    [Fact]
    public async Task RunAsync_Defect_SaysSo()
    {
        var run = await CliRun.With(console => [Throwing(console, new InvalidOperationException("index 7"))], "", "work");

        run.Error.Should().Contain("unexpected InvalidOperationException: index 7").And.Contain("--verbose").And.NotContain("   at ");
    }

    [Theory]
    [InlineData("--qiet", "--quiet")]
    [InlineData("wrok", "work")]
    public async Task RunAsync_Typo_SuggestsAndExitsWithUsage(string token, string suggestion)
    {
        var run = await CliRun.With(console => [Returning(console, 0)], "", token);

        run.ExitCode.Should().Be(ExitCodes.Usage);
        run.Error.Should().Contain(suggestion).And.Contain("yapo-llama --help");
        run.Out.Should().BeEmpty();
    }

    [Fact]
    public async Task RunAsync_NoCommand_ListsCommandsAndExitsWithUsage()
    {
        var run = await CliRun.With(console => [Returning(console, 0)], "");

        run.ExitCode.Should().Be(ExitCodes.Usage);
        run.Error.Should().Contain("commands: work");
    }

    [Fact]
    public async Task RunAsync_ValueOutOfRange_NamesRangeAndExitsWithUsage()
    {
        var run = await CliRun.With(console => [Returning(console, 0)], "", "work", "--threads", "-3");

        run.ExitCode.Should().Be(ExitCodes.Usage);
        run.Error.Should().Contain("--threads -3").And.Contain("0 to 1024");
    }

    [Fact]
    public async Task RunAsync_ValueNotANumber_ExitsWithUsage()
    {
        var run = await CliRun.With(console => [Returning(console, 0)], "", "work", "--threads", "many");

        run.ExitCode.Should().Be(ExitCodes.Usage);
        run.Error.Should().Contain("--threads 'many' is no whole number").And.NotContain("System.");
    }

    [Fact]
    public async Task RunAsync_UnknownCommandWithHelp_IsNoSuccess()
    {
        var run = await CliRun.With(console => [Returning(console, 0)], "", "tokenize", "--help");

        run.ExitCode.Should().Be(ExitCodes.Usage);
        run.Error.Should().Contain("'tokenize' is no command of 'yapo-llama'").And.Contain("commands: work");
        run.Out.Should().BeEmpty();
    }

    [Theory]
    [InlineData("What do people eat?", "generate", "-p", "--prompt 'What do people eat?'")]
    [InlineData("egypt.ysv", "chat", "--vector", "--vector egypt.ysv")]
    [InlineData("model.gguf", "doctor", "--model", "--model model.gguf")]
    public async Task RunAsync_ValueWithoutItsOption_NamesTheOption(string token, string command, string option, string advice)
    {
        var run = await CliRun.Of(command, token);

        run.ExitCode.Should().Be(ExitCodes.Usage);
        run.Error.Should().Contain(advice, $"{option} takes it").And.Contain($"yapo-llama {command} --help");
    }

    [Fact]
    public async Task RunAsync_UnknownSingleLetter_GuessesNothing()
    {
        var run = await CliRun.Of("chat", "-p", "hello");

        run.ExitCode.Should().Be(ExitCodes.Usage);
        run.Error.Should().Contain("'-p'").And.NotContain("did you mean");
    }

    [Fact]
    public async Task RunAsync_Help_GoesToStdout()
    {
        var run = await CliRun.With(console => [Returning(console, 0)], "", "work", "--help");

        run.ExitCode.Should().Be(0);
        run.Out.Should().Contain("--threads").And.Contain("[default: 0]");
        run.Error.Should().BeEmpty();
    }

    [Theory]
    [InlineData("--quiet", new[] { "error" })]
    [InlineData(null, new[] { "warning", "error" })]
    [InlineData("--verbose", new[] { "debug", "info", "warning", "error" })]
    public async Task RunAsync_Verbosity_DecidesWhichLogLinesReachStderr(string? option, string[] expected)
    {
        IEnumerable<Command> Commands(CommandConsole console) =>
        [
            new Command("work", "Logs.").Handle(console, _ => 0, (_, c, _) =>
            {
                var logger = c.Logs.CreateLogger("YaPO.Native");
                logger.LogDebug("text");
                logger.LogInformation("text");
                logger.LogWarning("text");
                logger.LogError("text");
                return Task.FromResult(0);
            }),
        ];

        var run = await CliRun.With(Commands, "", option is null ? ["work"] : ["work", option]);

        run.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries).Should().Equal(expected.Select(level => $"{level}: Native: text"));
        run.Out.Should().BeEmpty();
    }

    private static Command Throwing(CommandConsole console, Exception failure) =>
        new Command("work", "Throws.").Handle(console, _ => 0, (_, _, _) => throw failure);

    private static Command Returning(CommandConsole console, int code)
    {
        var command = new Command("work", "Returns.");
        var engine = new EngineOptions();
        engine.AddTo(command);
        return command.Handle(console, engine.Read, (_, _, _) => Task.FromResult(code));
    }
}

using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli;

/// <summary>The thin root: parses, runs one command, and turns whatever happened into an exit code and one message.</summary>
internal static class CommandLineProgram
{
    private static readonly ParserConfiguration Parser = new()
    {
        // "-p @home" is a prompt, not a response file, and "-pn" is a typo, not "-p -n".
        ResponseFileTokenReplacer = null,
        EnablePosixBundling = false,
    };

    /// <summary>Runs the program with the commands of <see cref="CommandCatalog"/>.</summary>
    public static Task<int> RunAsync(IReadOnlyList<string> args, CommandConsole console) =>
        RunAsync(args, console, CommandCatalog.Build(console));

    /// <summary>Runs the program with the given commands; tests pass their own.</summary>
    public static async Task<int> RunAsync(IReadOnlyList<string> args, CommandConsole console, IEnumerable<Command> commands)
    {
        var shared = new SharedOptions();
        var parsed = BuildRoot(shared, commands, console).Parse(args, Parser);
        // "--help" behind a command that does not exist would show the help of another and call that success.
        if (parsed.Action is ParseErrorAction || (parsed.Action is HelpAction && parsed.UnmatchedTokens.Count > 0 && parsed.CommandResult.Command.Subcommands.Count > 0))
        {
            UsageErrors.Report(parsed, console);
            return ExitCodes.Usage;
        }

        console.Verbosity = shared.ReadVerbosity(parsed);
        try
        {
            var configuration = new InvocationConfiguration
            {
                Output = console.Out,
                Error = console.Error,
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null, // console.Interrupts owns Ctrl+C
            };
            return await parsed.InvokeAsync(configuration, console.Interrupts.Token).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            return ErrorReport.Write(e, console);
        }
        finally
        {
            console.Flush();
        }
    }

    /// <summary>Parses and runs nothing: what the tests hold the documentation's commands against.</summary>
    internal static ParseResult Parse(IReadOnlyList<string> args, CommandConsole console) =>
        BuildRoot(new SharedOptions(), CommandCatalog.Build(console), console).Parse(args, Parser);

    private static RootCommand BuildRoot(SharedOptions shared, IEnumerable<Command> commands, CommandConsole console)
    {
        var root = new RootCommand(
            """
            yapo-llama steers quantized GGUF models with sparse SAE vectors inside llama.cpp's graph.

            Exit codes: 0 success; 1 failed while running; 2 wrong usage; 3 bad or mismatching input (file, model, vector, data); 130 interrupted.
            Data goes to stdout, progress and logs to stderr.
            """);
        root.Options.OfType<VersionOption>().Single().Action = new VersionAction(console);
        root.Options.Add(shared.Verbose);
        root.Options.Add(shared.Quiet);
        foreach (var command in commands)
        {
            root.Subcommands.Add(command);
            GuardValidators(command);
        }

        return root;
    }

    /// <summary>
    /// A command's validators read options before the parser has refused those that cannot be read (given twice, without a value, no number), and reading these throws: that, too, is wrong
    /// usage and no crash.
    /// </summary>
    private static void GuardValidators(Command command)
    {
        for (var i = 0; i < command.Validators.Count; i++)
        {
            var validate = command.Validators[i];
            command.Validators[i] = result =>
            {
                try
                {
                    validate(result);
                }
                catch (InvalidOperationException e)
                {
                    result.AddError(e.Message);
                }
            };
        }

        foreach (var inner in command.Subcommands)
        {
            GuardValidators(inner);
        }
    }
}

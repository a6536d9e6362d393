using System.CommandLine;
using YaPO.Llama.Cli;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Tests.Cli;

/// <summary>One run of the command line inside the test process: arguments in, exit code and both streams out.</summary>
internal sealed record CliRun(int ExitCode, string Out, string Error)
{
    public static async Task<CliRun> Of(params string[] args) => await With(null, "", args);

    /// <summary>Runs with a text on stdin and, when given, other commands than the program's.</summary>
    public static async Task<CliRun> With(Func<CommandConsole, IEnumerable<Command>>? commands, string input, params string[] args)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        using var console = new CommandConsole(new StringReader(input), output, TextWriter.Synchronized(error), new Interrupts());
        var code = commands is null
            ? await CommandLineProgram.RunAsync(args, console)
            : await CommandLineProgram.RunAsync(args, console, commands(console));
        return new CliRun(code, output.ToString(), error.ToString());
    }
}

using System.CommandLine;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Commands;

/// <summary>Ties a command to its handler: parse result → options record → handler(record, console, cancellation) → exit code.</summary>
internal static class CommandHandler
{
    /// <summary>Sets the handler. <paramref name="read"/> makes the options record; whatever the handler throws becomes the exit code at the root.</summary>
    public static Command Handle<TOptions>(
        this Command command,
        CommandConsole console,
        Func<ParseResult, TOptions> read,
        Func<TOptions, CommandConsole, CancellationToken, Task<int>> handler)
    {
        command.SetAction((parsed, cancellation) => handler(read(parsed), console, cancellation));
        return command;
    }
}

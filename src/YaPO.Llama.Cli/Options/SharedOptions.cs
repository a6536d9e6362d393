using System.CommandLine;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Options;

/// <summary>Options that every command has: how much to say.</summary>
internal sealed class SharedOptions
{
    public Option<bool> Verbose { get; } = new("--verbose")
    {
        Description = "Also show llama.cpp's log and, for a failure, where it happened (default: warnings and progress).",
        Recursive = true,
    };

    public Option<bool> Quiet { get; } = new("--quiet")
    {
        Description = "Show errors only (default: off).",
        Recursive = true,
    };

    public Verbosity ReadVerbosity(ParseResult parsed) =>
        parsed.GetValue(Verbose) ? Verbosity.Verbose
        : parsed.GetValue(Quiet) ? Verbosity.Quiet
        : Verbosity.Normal;
}

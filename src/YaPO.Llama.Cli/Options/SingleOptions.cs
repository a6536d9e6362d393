using System.CommandLine;
using System.Numerics;

namespace YaPO.Llama.Cli.Options;

/// <summary>Options with one meaning wherever they appear, made anew for each command.</summary>
internal static class SingleOptions
{
    public static Option<bool> Json() => new("--json")
    {
        Description = "Print one JSON document instead of text (default: text).",
    };

    public static Option<string?> Report() => new("--report")
    {
        Description = "Also write tables, plots and the JSON into one self-contained HTML file, replaced when it exists (default: none).",
        HelpName = "FILE.html",
    };

    public static Option<int> Threads() => new Option<int>("--threads")
    {
        Description = "CPU threads. 0: one per physical core, but a single one for models below 50 M parameters, where more only wait for each other.",
        DefaultValueFactory = _ => 0,
        HelpName = "N",
    }.Within(0, 1024);

    public static Option<string> Output(string what) => new("--output", "-o")
    {
        Description = $"{what} to write; replaced when it exists (required).",
        Required = true,
        HelpName = "FILE",
    };

    /// <summary>A number in a range, with its default and unit in the help.</summary>
    public static Option<T> Number<T>(string name, string description, T value, T least, T most, string unit) where T : struct, INumber<T>
        => new Option<T>(name) { Description = description, DefaultValueFactory = _ => value, HelpName = unit }.Within(least, most);

    public static Argument<string> File(string what) => new("FILE") { Description = what };
}

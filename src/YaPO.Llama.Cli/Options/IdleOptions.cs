using System.CommandLine;
using System.CommandLine.Parsing;

namespace YaPO.Llama.Cli.Options;

/// <summary>
/// An option that is accepted acts. One that would do nothing beside the others is wrong usage: who gave it expects a result that the run would not have.
/// Only what was typed counts; defaults do nothing unasked.
/// </summary>
internal static class IdleOptions
{
    /// <summary>Whether the option was typed.</summary>
    public static bool Given(this CommandResult result, Option option) => result.GetResult(option) is { Implicit: false };

    /// <summary>What was typed, else the option's default, which the parser does not know yet while commands are validated.</summary>
    /// <exception cref="InvalidOperationException">What was typed cannot be read; <see cref="CommandLineProgram"/> reports it.</exception>
    public static T Value<T>(this CommandResult result, Option<T> option, T otherwise) => result.Given(option) ? result.GetValue(option) ?? otherwise : otherwise;

    /// <summary>Refuses options that act only beside something that is missing.</summary>
    /// <param name="result">What was typed.</param>
    /// <param name="missing">Whether it is.</param>
    /// <param name="what">What it is, such as "--neutral FILE".</param>
    /// <param name="options">Those that then do nothing.</param>
    public static void RequireBeside(this CommandResult result, bool missing, string what, params ReadOnlySpan<Option> options) => Refuse(result, missing, $"without {what}: give that too, or leave it out", options);

    /// <summary>Refuses options that something else which was chosen puts out of use.</summary>
    /// <param name="result">What was typed.</param>
    /// <param name="chosen">Whether it was.</param>
    /// <param name="what">What it is, such as "--method caa".</param>
    /// <param name="options">Those that then do nothing.</param>
    public static void RefuseBeside(this CommandResult result, bool chosen, string what, params ReadOnlySpan<Option> options) => Refuse(result, chosen, $"with {what}: leave it out", options);

    private static void Refuse(CommandResult result, bool idle, string why, ReadOnlySpan<Option> options)
    {
        foreach (var option in options)
        {
            if (idle && result.Given(option))
            {
                result.AddError($"{Name(option)} does nothing {why}");
            }
        }
    }

    // The long one: "-n" says less than "--max-tokens".
    private static string Name(Option option) => option.Name.StartsWith("--", StringComparison.Ordinal) ? option.Name : option.Aliases.FirstOrDefault(a => a.StartsWith("--", StringComparison.Ordinal)) ?? option.Name;
}

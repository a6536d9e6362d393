using System.CommandLine;
using System.Text.RegularExpressions;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Errors;

/// <summary>Wrong usage: says what was wrong, what may have been meant, and where the help is.</summary>
internal static partial class UsageErrors
{
    private const int MostSuggestions = 3;

    /// <summary>Options that take what is easily typed without them, by how it ends; anything else may be a prompt.</summary>
    private static readonly (string End, string Option)[] Homes = [(".ysv", "--vector"), (".gguf", "--model"), (".jsonl", "--data"), ("", "--prompt")];

    /// <summary>Writes the errors of a failed parse to stderr; of a typo only what was probably meant.</summary>
    public static void Report(ParseResult parsed, CommandConsole console)
    {
        var command = parsed.CommandResult.Command;
        var typos = parsed.UnmatchedTokens.Select(token => (Token: token, Near: Suggestions(token, command))).Where(t => t.Near.Count > 0).ToList();
        foreach (var (token, near) in typos)
        {
            console.Error.WriteLine($"error: '{token}' is unknown; did you mean {string.Join(" or ", near)}?");
        }

        if (typos.Count == 0 && parsed.UnmatchedTokens is [var lone, ..] && HomeOf(lone, command) is { } option)
        {
            console.Error.WriteLine($"error: '{lone}' stands alone; did you mean {option} {Paths.Quoted(lone)}?");
            typos.Add((lone, [option]));
        }

        if (typos.Count == 0 && command.Subcommands.Count > 0 && parsed.UnmatchedTokens is [var unknown, ..])
        {
            console.Error.WriteLine($"error: '{unknown}' is no {(unknown.StartsWith('-') ? "option" : "command")} of '{PathOf(parsed)}'");
            console.Error.WriteLine(CommandsOf(command));
            typos.Add((unknown, []));
        }

        // What else is wrong mostly follows from the typo: its value stands alone, and the option that was meant is missing.
        foreach (var message in typos.Count > 0 ? [] : parsed.Errors.Select(e => Plain(e.Message)).Distinct(StringComparer.Ordinal))
        {
            console.Error.WriteLine($"error: {message}");
        }

        if (command.Subcommands.Count > 0 && parsed.UnmatchedTokens.Count == 0)
        {
            console.Error.WriteLine(CommandsOf(command));
        }

        console.Error.WriteLine($"See '{PathOf(parsed)} --help'.");
    }

    /// <summary>Names of sub-commands and options within an edit distance of a third of the token's length (at least 2), or of which one begins with the other
    /// (<c>--temperature</c>, <c>--temp</c>), nearest first. A value after <c>=</c> does not count.</summary>
    internal static IReadOnlyList<string> Suggestions(string token, Command command)
    {
        token = token.Split('=')[0];
        if (token.TrimStart('-').Length < 2)
        {
            return []; // every other letter is as near
        }

        var limit = Math.Max(2, token.Length / 3);
        var options = command.Options.Concat(command.Parents.OfType<Command>().SelectMany(p => p.Options).Where(o => o.Recursive));
        return
        [
            .. command.Subcommands.Select(c => c.Name)
                .Concat(options.Select(o => o.Name))
                .Where(name => name.StartsWith('-') == token.StartsWith('-'))
                .Select(name => (Name: name, Distance: EditDistance(token, name)))
                .Where(x => x.Distance <= limit || BeginAlike(token, x.Name))
                .OrderBy(x => x.Distance).ThenBy(x => x.Name, StringComparer.Ordinal)
                .Take(MostSuggestions)
                .Select(x => x.Name),
        ];
    }

    private static string CommandsOf(Command command) => $"commands: {string.Join(", ", command.Subcommands.Select(c => c.Name))}";

    private static string? HomeOf(string token, Command command) => token.StartsWith('-') || command.Subcommands.Count > 0 || command.Arguments.Count > 0
        ? null
        : Homes.Where(home => token.EndsWith(home.End, StringComparison.OrdinalIgnoreCase)).Select(home => home.Option).FirstOrDefault(name => command.Options.Any(o => o.Name == name || o.Aliases.Contains(name)));

    /// <summary>The parser's message without names of .NET types.</summary>
    internal static string Plain(string message) => NotOfType().Match(message) is { Success: true } m
        ? $"{m.Groups["option"].Value} '{m.Groups["value"].Value}' is no {(m.Groups["type"].Value is "Single" or "Double" ? "number" : "whole number")}"
        : message;

    [GeneratedRegex(@"^Cannot parse argument '(?<value>.*)' for option '(?<option>[^']+)' as expected type 'System\.(Nullable`1\[System\.)?(?<type>Single|Double|Int32|Int64|UInt32|UInt64)\]?'\.$", RegexOptions.Singleline)]
    private static partial Regex NotOfType();

    // Fewer than three letters begin too many names.
    private static bool BeginAlike(string a, string b) =>
        Math.Min(a.TrimStart('-').Length, b.TrimStart('-').Length) >= 3 && (a.StartsWith(b, StringComparison.Ordinal) || b.StartsWith(a, StringComparison.Ordinal));

    /// <summary>Levenshtein distance: insertions, deletions and substitutions that turn a into b.</summary>
    internal static int EditDistance(string a, string b)
    {
        var previous = new int[b.Length + 1];
        var current = new int[b.Length + 1];
        for (var j = 0; j <= b.Length; j++)
        {
            previous[j] = j;
        }

        for (var i = 1; i <= a.Length; i++)
        {
            current[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var substitution = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
                current[j] = Math.Min(substitution, Math.Min(previous[j], current[j - 1]) + 1);
            }

            (previous, current) = (current, previous);
        }

        return previous[b.Length];
    }

    private static string PathOf(ParseResult parsed)
    {
        var names = new Stack<string>();
        for (var result = parsed.CommandResult; result.Parent is System.CommandLine.Parsing.CommandResult parent; result = parent)
        {
            names.Push(result.Command.Name);
        }

        return string.Join(' ', names.Prepend("yapo-llama"));
    }
}

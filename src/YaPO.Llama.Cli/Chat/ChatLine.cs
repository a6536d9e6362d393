using System.Globalization;

namespace YaPO.Llama.Cli.Chat;

/// <summary>One line typed into a chat, parsed.</summary>
internal abstract record ChatLine
{
    /// <summary>A user turn.</summary>
    public sealed record Message(string Text) : ChatLine;

    /// <summary>Nothing was typed.</summary>
    public sealed record Nothing : ChatLine;

    public sealed record Help : ChatLine;

    public sealed record Quit : ChatLine;

    public sealed record Reset : ChatLine;

    public sealed record Features : ChatLine;

    /// <summary>/compare: toggles, or sets with on and off.</summary>
    public sealed record Compare(bool? On) : ChatLine;

    /// <summary>/strength: shows (null) or sets the strength of all vectors, or of vector number <paramref name="Number"/> (from 1).</summary>
    public sealed record Strength(double? Value, int? Number) : ChatLine;

    /// <summary>/vector: shows (null), turns off and on, or loads others.</summary>
    public sealed record Vector(string? Argument) : ChatLine;

    /// <summary>/feature INDEX +VALUE: adds a value to one feature by hand; 0 takes it away again.</summary>
    public sealed record Feature(int Index, double Value) : ChatLine;

    /// <summary>A command that cannot be carried out as typed; the message says what was expected.</summary>
    public sealed record Wrong(string Expected) : ChatLine;

    private static readonly string[] Names = ["/help", "/strength", "/vector", "/compare", "/features", "/feature", "/reset", "/quit"];

    /// <summary>Parses a line: what starts with one slash is a command, two slashes escape a slash, all else is a user turn.</summary>
    public static ChatLine Parse(string line)
    {
        var text = line.Trim();
        if (text.Length == 0)
        {
            return new Nothing();
        }

        if (text[0] != '/')
        {
            return new Message(text);
        }

        if (text.StartsWith("//", StringComparison.Ordinal))
        {
            return new Message(text[1..]);
        }

        var parts = text.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        var arguments = parts[1..];
        return parts[0].ToLowerInvariant() switch
        {
            "/help" or "/?" => new Help(),
            "/quit" or "/exit" => new Quit(),
            "/reset" => new Reset(),
            "/features" => new Features(),
            "/compare" => ParseCompare(arguments),
            "/strength" => ParseStrength(arguments),
            "/vector" => new Vector(arguments.Length == 0 ? null : string.Join(' ', arguments)),
            "/feature" => ParseFeature(arguments),
            _ => new Wrong($"{parts[0]} is unknown; commands: {string.Join(", ", Names)}"),
        };
    }

    private static ChatLine ParseCompare(string[] arguments) => arguments switch
    {
        [] => new Compare(null),
        ["on"] => new Compare(true),
        ["off"] => new Compare(false),
        _ => new Wrong("/compare takes nothing, 'on' or 'off'"),
    };

    private static ChatLine ParseStrength(string[] arguments) => arguments switch
    {
        [] => new Strength(null, null),
        [var value] when Real(value) is { } x => new Strength(x, null),
        [var vector, var value] when Whole(vector) is { } i and > 0 && Real(value) is { } x => new Strength(x, i),
        _ => new Wrong("/strength takes a number such as 1.2, or the number of a vector and then the strength: /strength 2 0.5"),
    };

    private static ChatLine ParseFeature(string[] arguments) => arguments switch
    {
        [var index, var value] when Whole(index) is { } i && Real(value) is { } x => new Feature(i, x),
        _ => new Wrong("/feature takes a feature index and a value in units of the SAE's activations: /feature 12345 +40 (0 takes it away)"),
    };

    private static double? Real(string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && double.IsFinite(value) ? value : null;

    private static int? Whole(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : null;
}

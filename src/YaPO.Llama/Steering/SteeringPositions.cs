using System.Globalization;

namespace YaPO.Llama.Steering;

/// <summary>What a token is in the text that the model reads; decides with <see cref="SteeringPositions"/> whether it is steered.</summary>
public enum TokenRole
{
    /// <summary>The beginning-of-sequence token at position 0.</summary>
    Bos,

    /// <summary>A prompt token: raw text, or user and system turns with everything the template adds around turns.</summary>
    Prompt,

    /// <summary>The last position before an answer. Its output is the answer's first token.</summary>
    PromptEnd,

    /// <summary>
    /// A token of an answer: being sampled now, sampled earlier in the conversation, an assistant turn the caller gave, or the
    /// completion that is scored. Roles decide, not calls, so that a conversation replayed from its text is steered alike.
    /// </summary>
    Answer,
}

/// <summary>
/// The positions a vector acts on:
/// <list type="bullet">
/// <item><c>all</c> — every position but BOS, which carries a huge norm and was left out when most SAEs were trained;</item>
/// <item><c>all+bos</c> — every position (what the public YaPO code does);</item>
/// <item><c>prompt</c> — the prompt, its last position included, without BOS;</item>
/// <item><c>generated</c> — the positions whose output becomes the answer: the last prompt position and the answer's tokens;</item>
/// <item><c>assistant</c> — the answer's tokens only, so the first of them is still chosen unsteered;</item>
/// <item><c>START-END</c> — zero-based positions, BOS counted, END included, whatever stands there.</item>
/// </list>
/// </summary>
public sealed record SteeringPositions
{
    /// <summary>Every position but BOS: the default.</summary>
    public static readonly SteeringPositions All = new("all");

    /// <summary>Every position.</summary>
    public static readonly SteeringPositions AllAndBos = new("all+bos");

    /// <summary>The prompt without BOS.</summary>
    public static readonly SteeringPositions Prompt = new("prompt");

    /// <summary>The positions whose output becomes the answer.</summary>
    public static readonly SteeringPositions Generated = new("generated");

    /// <summary>The answer's tokens.</summary>
    public static readonly SteeringPositions Assistant = new("assistant");

    private static readonly SteeringPositions[] Named = [All, AllAndBos, Prompt, Generated, Assistant];

    private readonly string _text;

    private SteeringPositions(string text, int start = 0, int end = -1) => (_text, Start, End) = (text, start, end);

    /// <summary>First position of a window; 0 otherwise.</summary>
    public int Start { get; }

    /// <summary>Last position of a window, included; −1 otherwise.</summary>
    public int End { get; }

    /// <summary>The positions <paramref name="start"/> … <paramref name="end"/>, both included.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/> unless 0 ≤ start ≤ end.</exception>
    public static SteeringPositions Window(int start, int end) => start >= 0 && end >= start
        ? new(string.Create(CultureInfo.InvariantCulture, $"{start}-{end}"), start, end)
        : throw new YapoException(YapoErrorKind.InvalidArgument, $"positions {start}-{end}: expected START-END with 0 <= START <= END");

    /// <summary>Reads a name or START-END.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/> otherwise; the message lists what is possible.</exception>
    public static SteeringPositions Parse(string text) => TryParse(text, out var positions) ? positions : throw new YapoException(
        YapoErrorKind.InvalidArgument,
        $"positions '{text}' are unknown; expected all, all+bos, prompt, generated, assistant, or START-END such as 0-15 (zero-based, END included)");

    /// <summary>Reads a name or START-END; false for anything else.</summary>
    public static bool TryParse(string text, out SteeringPositions positions)
    {
        positions = Array.Find(Named, p => p._text == text) ?? All;
        if (positions._text == text)
        {
            return true;
        }

        var dash = text.IndexOf('-', StringComparison.Ordinal);
        if (dash <= 0
            || !int.TryParse(text.AsSpan(0, dash), NumberStyles.None, CultureInfo.InvariantCulture, out var start)
            || !int.TryParse(text.AsSpan(dash + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var end)
            || end < start)
        {
            return false;
        }

        positions = Window(start, end);
        return true;
    }

    /// <summary>Whether the token at <paramref name="position"/> (zero-based, BOS counted) with this role is steered.</summary>
    public bool Steers(int position, TokenRole role) => End >= 0
        ? position >= Start && position <= End
        : _text switch
        {
            "all" => role != TokenRole.Bos,
            "all+bos" => true,
            "prompt" => role is TokenRole.Prompt or TokenRole.PromptEnd,
            "generated" => role is TokenRole.PromptEnd or TokenRole.Answer,
            _ => role == TokenRole.Answer,
        };

    /// <summary>The text that <see cref="Parse"/> reads back.</summary>
    public override string ToString() => _text;
}

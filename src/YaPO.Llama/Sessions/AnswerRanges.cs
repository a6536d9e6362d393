using System.Globalization;
using System.Text;
using YaPO.Llama.Models;

namespace YaPO.Llama.Sessions;

/// <summary>
/// Where the answers of a conversation stand in its rendered text, found in a constant number of renderings. Rendering the chat up to each answer would
/// say the same for templates that only append, at a cost that grows with the square of the chat.
/// </summary>
/// <remarks>
/// The chat is rendered once more with marks around every content. Where the marked text without its marks is the text itself, the marks show where each
/// answer's content stands. An answer begins behind the header that the template writes for generation, where that header stands before the content, and
/// ends behind what the template writes after a final answer (the end-of-turn token and what follows it). Marks are letters and digits within the trimmed
/// content, so that templates which trim or split contents treat them as they treat the content.
/// </remarks>
internal static class AnswerRanges
{
    private const string Probe = " \t\n ";
    private static readonly char[] Space = [' ', '\t', '\n', '\r', '\v', '\f'];

    /// <summary>
    /// One entry per message: the range of an answer and of what closes it; null for other roles, and for answers that the template drops, repeats or
    /// rewrites so that they cannot be found.
    /// </summary>
    /// <param name="render">Renders messages, with the header of the next answer or without; null where the template refuses them. Called at most three times.</param>
    /// <param name="messages">As the template accepted them.</param>
    /// <param name="text">Their rendering, with the header of the next answer.</param>
    public static (int Start, int End)?[] Find(Func<IReadOnlyList<ChatMessage>, bool, string?> render, IReadOnlyList<ChatMessage> messages, string text)
    {
        var ranges = new (int Start, int End)?[messages.Count];
        var last = messages.Count - 1;
        while (last >= 0 && messages[last].Role != ChatMessage.AssistantRole)
        {
            last--;
        }

        if (last < 0)
        {
            return ranges;
        }

        var mark = NewMark(messages, text);
        var marked = messages.Select((message, i) => Marked(message, mark, i, Trailing(message))).ToArray();
        if (render(marked, true) is not { } withHeader || Places(withHeader, mark, messages.Count, text) is not { } places
            || render(marked, false) is not { } withoutHeader
            || render([.. marked[..last], Marked(messages[last], mark, last, Probe)], false) is not { } closed || Behind(closed, mark, last) is not { } closing)
        {
            return ranges;
        }

        // Does the template keep the space at the end of a content, or trim it?
        var keeps = closing.StartsWith(Probe, StringComparison.Ordinal);
        closing = keeps ? closing[Probe.Length..] : closing;
        var header = withHeader.StartsWith(withoutHeader, StringComparison.Ordinal) ? withHeader[withoutHeader.Length..] : "";
        var toGenerate = last == messages.Count - 1 ? "" : (Behind(withHeader, mark, messages.Count - 1) ?? "").TrimStart(Space);
        for (var i = 0; i < messages.Count; i++)
        {
            var end = keeps ? Trailing(messages[i]) + closing : closing;
            if (messages[i].Role == ChatMessage.AssistantRole && places[i] is { } place && text.AsSpan(place.End).StartsWith(end, StringComparison.Ordinal))
            {
                ranges[i] = (place.Before + HeaderEnd(text[place.Before..place.Start], toGenerate, header), place.End + end.Length);
            }
        }

        return ranges;
    }

    // Where the header ends in the text between the content before an answer and the answer's own: behind the same words as the text ends with (the turn
    // before closed, the header opened), else behind the header alone, else where the content begins.
    private static int HeaderEnd(string gap, string toGenerate, string header)
    {
        var trimmed = gap.TrimStart(Space);
        if (toGenerate.Length > 0 && trimmed.StartsWith(toGenerate, StringComparison.Ordinal))
        {
            return gap.Length - trimmed.Length + toGenerate.Length;
        }

        var at = header.Length == 0 ? -1 : gap.LastIndexOf(header, StringComparison.Ordinal);
        return at < 0 ? gap.Length : at + header.Length;
    }

    // Where each message's content stands in the text, and where the content before it ends; null where the marks changed what the template does.
    private static (int Before, int Start, int End)?[]? Places(string marked, string mark, int count, string text)
    {
        var places = new (int Before, int Start, int End)?[count];
        var seen = new bool[count];
        var plain = new StringBuilder(text.Length);
        var (at, before, open, openAt) = (0, 0, -1, 0);
        while (marked.IndexOf(mark, at, StringComparison.Ordinal) is var found and >= 0)
        {
            plain.Append(marked, at, found - at);
            var end = found + mark.Length;
            var number = 0;
            for (; end < marked.Length && char.IsAsciiDigit(marked[end]); end++)
            {
                number = (number * 10) + (marked[end] - '0');
            }

            if (end == marked.Length || number >= count || marked[end] is not ('a' or 'z'))
            {
                return null;
            }

            if (marked[end] == 'a')
            {
                (open, openAt) = (number, plain.Length);
            }
            else
            {
                // Content that stands in the text twice, or whose beginning the template cut off, has no one place.
                places[number] = open == number && !seen[number] ? (before, openAt, plain.Length) : null;
                (seen[number], open, before) = (true, -1, plain.Length);
            }

            at = end + 1;
        }

        plain.Append(marked, at, marked.Length - at);
        return plain.Equals(text) ? places : null;
    }

    private static ChatMessage Marked(ChatMessage message, string mark, int i, string trailing)
    {
        var core = message.Content.Trim(Space);
        var lead = core.Length == 0 ? message.Content.Length : message.Content.IndexOf(core, StringComparison.Ordinal);
        return message with { Content = $"{message.Content[..lead]}{Mark(mark, i, 'a')}{core}{Mark(mark, i, 'z')}{trailing}" };
    }

    private static string Trailing(ChatMessage message) => message.Content.AsSpan().Trim(Space).IsEmpty ? "" : message.Content[message.Content.TrimEnd(Space).Length..];

    private static string? Behind(string rendered, string mark, int i) =>
        Mark(mark, i, 'z') is var end && rendered.LastIndexOf(end, StringComparison.Ordinal) is var at and >= 0 ? rendered[(at + end.Length)..] : null;

    private static string Mark(string mark, int i, char side) => string.Create(CultureInfo.InvariantCulture, $"{mark}{i}{side}");

    // A word that stands nowhere in the text or the contents (a template may show neither all of them nor as they are).
    private static string NewMark(IReadOnlyList<ChatMessage> messages, string text)
    {
        for (var n = 0; ; n++)
        {
            var mark = string.Create(CultureInfo.InvariantCulture, $"qzx{n}y");
            if (!text.Contains(mark, StringComparison.Ordinal) && messages.All(m => !m.Content.Contains(mark, StringComparison.Ordinal)))
            {
                return mark;
            }
        }
    }
}

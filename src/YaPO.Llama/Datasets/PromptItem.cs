using YaPO.Llama.Models;

namespace YaPO.Llama.Datasets;

/// <summary>One line of <c>generate --input</c>: <c>{"prompt": ".." | [{role, content}..], "id": any}</c>; <c>messages</c> is accepted for <c>prompt</c>.</summary>
/// <param name="Messages">The conversation; a string is one user turn.</param>
/// <param name="Text">The prompt where it was a string (what <c>--raw</c> uses); null for a list.</param>
/// <param name="Id">The line's <c>id</c> as JSON text, to be echoed; null without one.</param>
/// <param name="Extra">The line's other fields as JSON text.</param>
/// <param name="Line">Line number in the file, from 1.</param>
public sealed record PromptItem(IReadOnlyList<ChatMessage> Messages, string? Text, string? Id, IReadOnlyDictionary<string, string> Extra, int Line)
{
    /// <summary>Reads a file lazily.</summary>
    /// <exception cref="YapoException">Unreadable, or with the line number where a line is malformed.</exception>
    public static IEnumerable<PromptItem> Read(string path) => JsonLines.Read(path, Convert);

    /// <summary>Reads one line.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>, with the line number.</exception>
    public static PromptItem Convert(JsonLine line)
    {
        var field = line.Has("prompt") || !line.Has("messages") ? "prompt" : "messages";
        var messages = line.Messages(field, ChatMessage.UserRole);
        var text = line.Get(field) is { ValueKind: System.Text.Json.JsonValueKind.String } value ? value.GetString() : null;
        return new PromptItem(messages, text, line.Get("id")?.GetRawText(), line.Extra(field, "id"), line.Number);
    }
}

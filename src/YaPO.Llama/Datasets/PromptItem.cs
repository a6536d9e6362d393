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

    /// <summary>
    /// Reads prompts in any of the published forms: JSON Lines; a JSON array of {question} or {prompt} (CAA's open-ended questions); a CSV with a column prompt, question (BiPO) or goal
    /// (AdvBench).
    /// </summary>
    /// <exception cref="YapoException">Unreadable, without a prompt, with unknown columns, or malformed at a line.</exception>
    public static IReadOnlyList<PromptItem> Load(string path)
    {
        PromptItem[] items = Path.GetExtension(path).Equals(".csv", StringComparison.OrdinalIgnoreCase) ? [.. Csv(path)]
            : JsonArrayFile.Is(path) ? [.. JsonArrayFile.Read(path, "{question} or {prompt}", Convert)]
            : [.. Read(path)];
        return items.Length > 0 ? items : throw new YapoException(YapoErrorKind.Format, $"{path} holds no prompts; a line looks like {{\"prompt\": \"..\"}}");
    }

    /// <summary>Reads one line. <c>messages</c> and <c>question</c> are accepted for <c>prompt</c>.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>, with the line number.</exception>
    public static PromptItem Convert(JsonLine line)
    {
        var field = line.Has("prompt") ? "prompt" : line.Has("messages") ? "messages" : line.Has("question") ? "question" : "prompt";
        var messages = line.Messages(field, ChatMessage.UserRole);
        var text = line.Get(field) is { ValueKind: System.Text.Json.JsonValueKind.String } value ? value.GetString() : null;
        return new PromptItem(messages, text, line.Json("id"), line.Extra(field, "id"), line.Number);
    }

    private static IEnumerable<PromptItem> Csv(string path)
    {
        var table = CsvTable.Load(path);
        var column = table.Has("prompt") ? "prompt" : table.Has("question") ? "question" : table.Has("goal") ? "goal" : throw table.Unknown("prompt, question (BiPO) or goal (AdvBench)");
        return table.Rows.Select(r => table.Text(r, column)).Zip(table.Rows, (text, row) => new PromptItem([ChatMessage.User(text)], text, null, new Dictionary<string, string>(), row.Line));
    }
}

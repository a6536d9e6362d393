namespace YaPO.Llama.Datasets;

/// <summary>
/// One line of <c>score --input</c>: texts <c>{"prompt", "completion"}</c> (raw, tokenized separately) or exact ids
/// <c>{"prompt_tokens", "completion_tokens"}</c>. Either the texts or the ids are set.
/// </summary>
/// <param name="Prompt">Text before; may be empty.</param>
/// <param name="Completion">Text to score.</param>
/// <param name="PromptTokens">Ids before.</param>
/// <param name="CompletionTokens">Ids to score; at least one.</param>
/// <param name="Id">The line's <c>id</c> as JSON text; null without one.</param>
/// <param name="Line">Line number in the file, from 1.</param>
public sealed record ScoreItem(string? Prompt, string? Completion, IReadOnlyList<int>? PromptTokens, IReadOnlyList<int>? CompletionTokens, string? Id, int Line)
{
    /// <summary>Reads a file lazily.</summary>
    /// <exception cref="YapoException">Unreadable, or with the line number where a line is malformed.</exception>
    public static IEnumerable<ScoreItem> Read(string path) => JsonLines.Read(path, Convert);

    /// <summary>Reads one line.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>, with the line number.</exception>
    public static ScoreItem Convert(JsonLine line)
    {
        var id = line.Json("id");
        var (ids, texts) = (line.Has("prompt_tokens") || line.Has("completion_tokens"), line.Has("prompt") || line.Has("completion"));
        if (ids && texts)
        {
            throw line.Bad("give prompt and completion, or prompt_tokens and completion_tokens, not both");
        }

        if (ids)
        {
            var completion = line.Tokens("completion_tokens");
            return completion.Length > 0
                ? new ScoreItem(null, null, line.Tokens("prompt_tokens"), completion, id, line.Number)
                : throw line.Bad("field 'completion_tokens' is empty, there is nothing to score");
        }

        var text = line.Text("completion");
        return text.Length > 0
            ? new ScoreItem(line.Text("prompt"), text, null, null, id, line.Number)
            : throw line.Bad("field 'completion' is empty, there is nothing to score");
    }
}

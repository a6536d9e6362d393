using YaPO.Llama.Models;

namespace YaPO.Llama.Datasets;

/// <summary>
/// One line of training data: a prompt with the answer to prefer and the one to avoid. In a file each is a string (a user turn, an answer) or a
/// list of <c>{role, content}</c>; without <c>prompt</c> both conversations are whole and their common beginning is the prompt.
/// </summary>
/// <param name="Prompt">The conversation up to the answer; its last turn is not the assistant's.</param>
/// <param name="Chosen">The preferred answer: one assistant turn.</param>
/// <param name="Rejected">The answer to avoid: one assistant turn.</param>
/// <param name="Extra">The line's other fields, such as <c>topic</c>, as JSON text.</param>
/// <param name="Line">Line number in the file, from 1.</param>
public sealed record PreferencePair(IReadOnlyList<ChatMessage> Prompt, string Chosen, string Rejected, IReadOnlyDictionary<string, string> Extra, int Line)
{
    /// <summary>
    /// Reads a file, all of it: JSON Lines; a CSV with question, matching, not_matching (BiPO) or prompt, chosen, rejected; or CAA's and Anthropic's form {question,
    /// answer_matching_behavior, answer_not_matching_behavior}, where the matching answer is chosen, as a JSON array or JSON Lines.
    /// </summary>
    /// <exception cref="YapoException">Unreadable, without a single pair, or with the line number where a line is malformed.</exception>
    public static IReadOnlyList<PreferencePair> Load(string path)
    {
        PreferencePair[] pairs = Path.GetExtension(path).Equals(".csv", StringComparison.OrdinalIgnoreCase) ? [.. Csv(path)]
            : JsonArrayFile.Is(path) ? [.. JsonArrayFile.Read(path, "{question, answer_matching_behavior, answer_not_matching_behavior} or {prompt, chosen, rejected}", Convert)]
            : [.. JsonLines.Read(path, Convert)];
        return pairs.Length > 0 ? pairs : throw new YapoException(YapoErrorKind.Format, $"{path} holds no preference pairs; a line looks like {{\"prompt\": \"..\", \"chosen\": \"..\", \"rejected\": \"..\"}}");
    }

    /// <summary>Reads one line.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>, with the line number.</exception>
    public static PreferencePair Convert(JsonLine line)
    {
        if (line.Has("answer_matching_behavior") && !line.Has("chosen"))
        {
            return Of(line.Text("question"), line.Text("answer_matching_behavior"), line.Text("answer_not_matching_behavior"), line.Number, line.Bad);
        }

        if (line.Has("prompt") && line.Has("chosen") && !line.Has("rejected"))
        {
            throw line.Bad("field 'rejected' is missing; 'yapo-llama data rejected' lets the model write its own answers for such lines");
        }

        var chosen = line.Messages("chosen", ChatMessage.AssistantRole);
        var rejected = line.Messages("rejected", ChatMessage.AssistantRole);
        ChatMessage[] prompt;
        if (line.Has("prompt"))
        {
            prompt = line.Messages("prompt", ChatMessage.UserRole);
        }
        else
        {
            // Both conversations are whole: what they share in front of their last turns is the prompt.
            prompt = chosen[..^1];
            if (prompt.Length == 0 || !prompt.AsSpan().SequenceEqual(rejected.AsSpan(0, rejected.Length - 1)))
            {
                throw line.Bad("field 'prompt' is missing, and 'chosen' and 'rejected' are not two conversations that differ in their last turn only");
            }

            (chosen, rejected) = (chosen[^1..], rejected[^1..]);
        }

        if (prompt[^1].Role == ChatMessage.AssistantRole)
        {
            throw line.Bad("the prompt ends with an assistant turn, expected the user's");
        }

        return new PreferencePair(prompt, Answer(line, "chosen", chosen), Answer(line, "rejected", rejected), line.Extra("prompt", "chosen", "rejected"), line.Number);
    }

    private static IEnumerable<PreferencePair> Csv(string path)
    {
        var table = CsvTable.Load(path);
        var (question, chosen, rejected) = table.Has("question", "matching", "not_matching") ? ("question", "matching", "not_matching")
            : table.Has("prompt", "chosen", "rejected") ? ("prompt", "chosen", "rejected")
            : throw table.Unknown("question, matching, not_matching (BiPO) or prompt, chosen, rejected");
        return table.Rows.Select(r => Of(table.Text(r, question), table.Text(r, chosen), table.Text(r, rejected), r.Line, r.Bad));
    }

    private static PreferencePair Of(string question, string chosen, string rejected, int line, Func<string, YapoException> bad) =>
        new[] { question, chosen, rejected }.Any(string.IsNullOrWhiteSpace)
            ? throw bad("the question or an answer is empty")
            : new PreferencePair([ChatMessage.User(question.Trim())], chosen.Trim(), rejected.Trim(), new Dictionary<string, string>(), line);

    private static string Answer(JsonLine line, string field, ChatMessage[] messages)
    {
        if (messages.Length != 1 || messages[0].Role != ChatMessage.AssistantRole)
        {
            throw line.Bad($"field '{field}' must be one assistant turn, found {messages.Length} turns ending with '{messages[^1].Role}'");
        }

        return messages[0].Content.Length > 0 ? messages[0].Content : throw line.Bad($"field '{field}' is empty");
    }
}

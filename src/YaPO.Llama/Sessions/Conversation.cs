using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sessions;

/// <summary>A turn, with the exact tokens that were sampled where the model wrote it.</summary>
internal sealed record Turn(ChatMessage Message, int[]? Tokens = null);

/// <summary>
/// Turns a conversation into tokens with roles. Answers that the model wrote keep the tokens it sampled (tokenizing their text again may cut it
/// differently, and then nothing in the cache would match); everything else comes from the rendered template.
/// </summary>
internal static class Conversation
{
    /// <summary>The tokens of all turns and the header of the next answer. Exactly one BOS where the model wants one.</summary>
    public static List<SequenceToken> Tokens(LlamaModel model, IReadOnlyList<Turn> turns, string? templateOverride)
    {
        var (messages, text) = model.RenderChat([.. turns.Select(t => t.Message)], addGenerationPrompt: true, templateOverride);
        var folded = turns.Count - messages.Count;
        var tokens = new List<SequenceToken>();
        var ranges = AnswerRanges.Find((some, header) => Render(model, some, header, templateOverride), messages, text);
        var done = 0;
        for (var i = 0; i < messages.Count; i++)
        {
            if (ranges[i] is not { } range || range.Start < done)
            {
                continue;
            }

            AddPrompt(tokens, model, text[done..range.Start]);
            AddAnswer(tokens, model, text[range.Start..range.End], messages[i].Content, turns[i + folded].Tokens);
            done = range.End;
        }

        AddPrompt(tokens, model, text[done..]);
        MarkBos(tokens, model);
        return tokens;
    }

    /// <summary>Tokens of raw text, all of it a prompt.</summary>
    public static List<SequenceToken> RawTokens(LlamaModel model, ReadOnlySpan<int> ids)
    {
        var tokens = new List<SequenceToken>(ids.Length + 256);
        foreach (var id in ids)
        {
            tokens.Add(new SequenceToken(id, TokenRole.Prompt));
        }

        if (tokens.Count > 0)
        {
            tokens[^1] = tokens[^1] with { Role = TokenRole.PromptEnd };
            if (ids[0] == model.Info.BosToken)
            {
                tokens[0] = tokens[0] with { Role = TokenRole.Bos };
            }
        }

        return tokens;
    }

    private static string? Render(LlamaModel model, IReadOnlyList<ChatMessage> messages, bool header, string? templateOverride)
    {
        try
        {
            // A template that folds the system text here did not do so before: other messages, other marks.
            return model.RenderChat(messages, header, templateOverride) is var (accepted, text) && accepted.Count == messages.Count ? text : null;
        }
        catch (YapoException e) when (e.Kind == YapoErrorKind.Unsupported)
        {
            return null;
        }
    }

    private static void AddPrompt(List<SequenceToken> tokens, LlamaModel model, string text)
    {
        foreach (var id in model.Tokenize(text, addSpecial: false))
        {
            tokens.Add(new SequenceToken(id, TokenRole.Prompt));
        }

        if (tokens.Count > 0 && tokens[^1].Role == TokenRole.Prompt)
        {
            tokens[^1] = tokens[^1] with { Role = TokenRole.PromptEnd };
        }
    }

    private static void AddAnswer(List<SequenceToken> tokens, LlamaModel model, string text, string content, int[]? exact)
    {
        var written = text.StartsWith(content, StringComparison.Ordinal) ? content.Length : content.Trim() is var trimmed && text.StartsWith(trimmed, StringComparison.Ordinal) ? trimmed.Length : -1;
        var keep = exact is not null && written >= 0;
        tokens.AddRange((keep ? exact! : []).Select(id => new SequenceToken(id, TokenRole.Answer)));

        // The end-of-turn token is sampled like the words before it; what the template adds behind it is not.
        var role = TokenRole.Answer;
        foreach (var id in model.Tokenize(keep ? text[written..] : text, addSpecial: false))
        {
            tokens.Add(new SequenceToken(id, role));
            role = model.IsEndOfGeneration(id) ? TokenRole.Prompt : role;
        }
    }

    private static void MarkBos(List<SequenceToken> tokens, LlamaModel model)
    {
        var bos = model.Info.BosToken;
        if (model.Info.AddsBos && (tokens.Count == 0 || tokens[0].Id != bos))
        {
            tokens.Insert(0, new SequenceToken(bos, TokenRole.Bos));
        }
        else if (tokens.Count > 0 && tokens[0].Id == bos)
        {
            tokens[0] = tokens[0] with { Role = TokenRole.Bos };
        }
    }
}

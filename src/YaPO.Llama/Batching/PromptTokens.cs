using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Batching;

/// <summary>The tokens in front of an answer, each with what it is in the text (which decides where a vector acts). Immutable.</summary>
public sealed class PromptTokens
{
    private PromptTokens(List<SequenceToken> tokens) => Tokens = tokens;

    /// <summary>Tokens, BOS included.</summary>
    public int Count => Tokens.Count;

    /// <summary>The token ids.</summary>
    public int[] Ids => [.. Tokens.Select(t => t.Id)];

    internal IReadOnlyList<SequenceToken> Tokens { get; }

    /// <summary>A conversation, rendered by the model's chat template and ending with the header of the answer.</summary>
    /// <param name="model">A vocabulary-only model will do.</param>
    /// <param name="messages">Roles <c>system</c>, <c>user</c>, <c>assistant</c>; at least one.</param>
    /// <param name="templateOverride">A Jinja template instead of the model's own.</param>
    /// <exception cref="YapoException">No template, or one that refuses these messages.</exception>
    public static PromptTokens Chat(LlamaModel model, IReadOnlyList<ChatMessage> messages, string? templateOverride = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(messages);
        return messages.Count > 0
            ? new PromptTokens(Conversation.Tokens(model, [.. messages.Select(m => new Turn(m))], templateOverride))
            : throw new YapoException(YapoErrorKind.InvalidArgument, "the conversation has no message");
    }

    /// <summary>Raw text to continue: no template; BOS as the model wants, control tokens parsed.</summary>
    public static PromptTokens Text(LlamaModel model, string text)
    {
        ArgumentNullException.ThrowIfNull(model);
        return Raw(model, model.Tokenize(text));
    }

    /// <summary>Exactly these tokens.</summary>
    /// <exception cref="YapoException">There is none, or one is not in the vocabulary.</exception>
    public static PromptTokens Raw(LlamaModel model, IReadOnlyList<int> ids)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(ids);
        if (ids.Count == 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "the prompt is empty and the model has no BOS token to start from");
        }

        foreach (var id in ids)
        {
            if (id < 0 || id >= model.Info.VocabularySize)
            {
                throw new YapoException(YapoErrorKind.InvalidArgument, $"token id {id} is unknown; the vocabulary has ids 0 to {model.Info.VocabularySize - 1}");
            }
        }

        return new PromptTokens(Conversation.RawTokens(model, [.. ids]));
    }
}

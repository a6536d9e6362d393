using System.Text;
using YaPO.Llama.Models;

namespace YaPO.Llama.Batching;

/// <summary>
/// Templates and tokens for any number of threads, over a vocabulary-only copy of a model: an engine's thread owns the model itself, and a long
/// conversation must not hold it up.
/// </summary>
public sealed class PromptEncoder : IDisposable
{
    private readonly Lock gate = new();
    private readonly LlamaModel vocabulary;

    /// <summary>Loads the vocabulary of a model file.</summary>
    /// <exception cref="YapoException">Missing or broken.</exception>
    public PromptEncoder(string modelPath)
    {
        vocabulary = LlamaModel.Load(modelPath, new ModelOptions { VocabularyOnly = true });
        HasChatTemplate = vocabulary.HasChatTemplate;
    }

    /// <summary>Whether the model brings a chat template.</summary>
    public bool HasChatTemplate { get; }

    /// <inheritdoc cref="PromptTokens.Chat"/>
    public PromptTokens Chat(IReadOnlyList<ChatMessage> messages)
    {
        lock (gate)
        {
            return PromptTokens.Chat(vocabulary, messages);
        }
    }

    /// <summary>
    /// How many tokens <see cref="Chat"/> would give. Much cheaper for a long conversation: finding each answer in it means rendering it up to there.
    /// </summary>
    public int CountChat(IReadOnlyList<ChatMessage> messages)
    {
        lock (gate)
        {
            return vocabulary.TokenizeChat(vocabulary.FormatChat(messages)).Length;
        }
    }

    /// <inheritdoc cref="PromptTokens.Text"/>
    public PromptTokens Text(string text)
    {
        lock (gate)
        {
            return PromptTokens.Text(vocabulary, text);
        }
    }

    /// <inheritdoc cref="PromptTokens.Raw"/>
    public PromptTokens Raw(IReadOnlyList<int> ids)
    {
        lock (gate)
        {
            return PromptTokens.Raw(vocabulary, ids);
        }
    }

    /// <summary>A token as text (bytes that are no whole characters become U+FFFD) and as bytes; control tokens with their names.</summary>
    public (string Text, byte[] Bytes) Piece(int id)
    {
        lock (gate)
        {
            var bytes = vocabulary.TokenPiece(id, special: true);
            return (Encoding.UTF8.GetString(bytes), bytes);
        }
    }

    /// <summary>Releases the copy.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            vocabulary.Dispose();
        }
    }
}

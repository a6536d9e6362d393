using System.Text;
using YaPO.Llama.Batching;
using YaPO.Llama.Models;

namespace YaPO.Llama.Server.Requests;

/// <summary>
/// Templates and tokens for request threads, over a vocabulary-only copy of the model: the engine's thread owns the model itself, and a long conversation
/// must not hold it up.
/// </summary>
internal sealed class PromptEncoder(LlamaModel vocabulary) : IDisposable
{
    private readonly Lock gate = new();

    public bool HasChatTemplate { get; } = vocabulary.HasChatTemplate;

    public PromptTokens Chat(IReadOnlyList<ChatMessage> messages)
    {
        lock (gate)
        {
            return PromptTokens.Chat(vocabulary, messages);
        }
    }

    public PromptTokens Raw(RawPrompt prompt)
    {
        lock (gate)
        {
            return prompt.Encode(vocabulary);
        }
    }

    /// <summary>A token as text (bytes that are no whole characters become U+FFFD) and as bytes; control tokens with their names.</summary>
    public (string Text, int[] Bytes) Piece(int id)
    {
        lock (gate)
        {
            var bytes = vocabulary.TokenPiece(id, special: true);
            return (Encoding.UTF8.GetString(bytes), [.. bytes.Select(b => (int)b)]);
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            vocabulary.Dispose();
        }
    }
}

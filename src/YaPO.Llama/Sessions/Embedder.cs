using YaPO.Llama.Batching;
using YaPO.Llama.Models;

namespace YaPO.Llama.Sessions;

/// <summary>
/// Embeddings of texts, steered or not, by a model whose file names a pooling (<c>ARCHITECTURE.pooling_type</c>: 1 mean, 2 first token, 3 last token), as
/// Qwen3-Embedding's does: <c>e = pool(h_1 … h_T) / ‖pool(h_1 … h_T)‖</c> over the residual stream after the last norm. Steering acts on h in the blocks as it
/// does for text that is continued. One thread at a time.
/// </summary>
public sealed class Embedder : IDisposable
{
    private readonly LlamaContext context;
    private readonly DecodeBatch batch = new();

    /// <summary>Creates the context.</summary>
    /// <param name="model">Stays the caller's.</param>
    /// <param name="tokens">T: the longest text, in tokens. llama.cpp keeps 8 T V bytes of logits beside it (V: size of the vocabulary).</param>
    /// <param name="options">Threads and storage; sizes are this class's own.</param>
    /// <exception cref="YapoException">The model gives no embeddings (<see cref="YapoErrorKind.Unsupported"/>).</exception>
    public Embedder(LlamaModel model, int tokens = 512, ContextOptions? options = null)
    {
        context = new LlamaContext(model, (options ?? new ContextOptions()) with { ContextSize = tokens, BatchSize = tokens, Sequences = 1, Embeddings = true });
        TokenLimit = Math.Min(context.ContextSize, context.BatchSize);
    }

    /// <summary>The longest text, in tokens.</summary>
    public int TokenLimit { get; }

    /// <summary>Whether a model's file names a pooling that gives embeddings.</summary>
    public static bool IsSupportedBy(LlamaModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return model.Meta($"{model.Meta("general.architecture")}.pooling_type") is "1" or "2" or "3";
    }

    /// <summary>Embeds one text.</summary>
    /// <param name="text">Its tokens; for <see cref="Steering.SteeringPositions"/> all of them are prompt.</param>
    /// <param name="steering">What acts where; null: nothing.</param>
    /// <param name="cancellation">Stops.</param>
    /// <returns>[D], of length 1; zeros stay zeros.</returns>
    /// <exception cref="YapoException">Longer than <see cref="TokenLimit"/>, or a vector that does not fit the model.</exception>
    public float[] Embed(PromptTokens text, IReadOnlyList<SteeringSetting>? steering = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (text.Count > TokenLimit)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"the text has {text.Count} tokens, expected at most {TokenLimit}");
        }

        var settings = steering ?? [];
        if (!settings.Select(s => s.Vector).SequenceEqual(context.Vectors, ReferenceEqualityComparer.Instance))
        {
            context.SetVectors([.. settings.Select(s => s.Vector)]);
        }

        batch.Clear(settings.Count);
        foreach (var token in text.Tokens)
        {
            batch.Add(token.Id, batch.Count, rowStrengths: [.. settings.Select(s => s.At(batch.Count, token.Role))]);
        }

        context.Remove(-1, 0);
        context.Decode(batch, cancellation);
        var embedding = context.Embedding(0);
        var norm = Math.Sqrt(embedding.Sum(x => (double)x * x));
        return norm > 0 ? Array.ConvertAll(embedding, x => (float)(x / norm)) : embedding;
    }

    /// <summary>Releases the context. The model stays.</summary>
    public void Dispose() => context.Dispose();
}

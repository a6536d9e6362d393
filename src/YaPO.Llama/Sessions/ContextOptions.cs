namespace YaPO.Llama.Sessions;

/// <summary>How the key-value cache stores its entries.</summary>
public enum CacheType
{
    /// <summary>16-bit floats (default).</summary>
    F16 = 0,

    /// <summary>32-bit floats: for comparisons with an oracle.</summary>
    F32 = 1,

    /// <summary>8-bit blocks: half the memory, small errors; needs flash attention.</summary>
    Q8_0 = 2,
}

/// <summary>Size and threads of a context; zero means the default in each case.</summary>
public sealed record ContextOptions
{
    /// <summary>KV cells, shared by all sequences; 0: what the model was trained with.</summary>
    public int ContextSize { get; init; }

    /// <summary>Most tokens of one <see cref="LlamaContext.Decode"/>; 0: 512.</summary>
    public int BatchSize { get; init; }

    /// <summary>Parameters below which a token takes about a millisecond on one core.</summary>
    public const ulong SmallModel = 50_000_000;

    /// <summary>Most tokens computed at once; 0: <see cref="BatchSize"/>.</summary>
    public int MicroBatchSize { get; init; }

    /// <summary>Sequences; 0: 1.</summary>
    public int Sequences { get; init; }

    /// <summary>
    /// CPU threads; 0: the number of physical cores, but one for models below <see cref="SmallModel"/> parameters. ggml's threads spin: more than there are idle cores makes it slower, not
    /// faster, and on a small model they only wait for each other.
    /// </summary>
    public int Threads { get; init; }

    /// <summary>Null: llama.cpp decides.</summary>
    public bool? FlashAttention { get; init; }

    /// <summary>
    /// Keeps the whole cache of sliding-window layers. Costs memory (a Gemma-2 cache at full length instead of 4096 cells in half of the layers) and is
    /// what makes rewinding possible; without it a changed strength re-evaluates from the start.
    /// </summary>
    public bool FullSlidingWindowCache { get; init; } = true;

    /// <summary>Storage of keys and values.</summary>
    public CacheType CacheType { get; init; }

    /// <summary>Gives embeddings, pooled as the model's file says, instead of logits. A batch is then computed at once: <see cref="MicroBatchSize"/> is not read.</summary>
    public bool Embeddings { get; init; }
}

/// <summary>Counters of a context.</summary>
/// <param name="GraphsComputed">Since creation.</param>
/// <param name="GraphsReused">Of those, without rebuilding.</param>
/// <param name="SteeringBytes">Device memory of the attached vectors.</param>
public sealed record ContextStatistics(long GraphsComputed, long GraphsReused, long SteeringBytes);

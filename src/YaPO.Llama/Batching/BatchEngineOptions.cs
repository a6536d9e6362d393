using YaPO.Llama.Sessions;

namespace YaPO.Llama.Batching;

/// <summary>Sizes and limits of a <see cref="BatchEngine"/>.</summary>
public sealed record BatchEngineOptions
{
    /// <summary>Requests that run at the same time, at most.</summary>
    public int Slots { get; init; } = 8;

    /// <summary>Most tokens of one request, prompt and answer together; 0: what the model was trained with, at most 4096.</summary>
    public int RequestTokens { get; init; }

    /// <summary>
    /// KV cells shared by all requests and by what is remembered of earlier ones; 0: enough for every slot at <see cref="RequestTokens"/>, at most 16384.
    /// A request waits until the cells for its prompt and its longest answer are free, so none ever runs out of room half-way.
    /// </summary>
    public int Cells { get; init; }

    /// <summary>Most prompt tokens evaluated in one step while other requests generate: what a new request may delay the others by.</summary>
    public int PrefillChunk { get; init; } = 64;

    /// <summary>Requests that may wait; more are refused.</summary>
    public int QueueLimit { get; init; } = 64;

    /// <summary>Of those, how many may belong to one client.</summary>
    public int QueueLimitPerClient { get; init; } = 64;

    /// <summary>Threads, storage of keys and values, and the batch size (prompt tokens per step while nothing is generated). Its sizes and sequences are set by the engine.</summary>
    public ContextOptions Context { get; init; } = new();
}

namespace YaPO.Llama.Batching;

/// <summary>What an engine did since it was created, and what it is doing.</summary>
public sealed record EngineStatistics
{
    /// <summary>Requests that run.</summary>
    public int Running { get; init; }

    /// <summary>Requests that wait.</summary>
    public int Waiting { get; init; }

    /// <summary>KV cells set aside for running requests or remembered from earlier ones.</summary>
    public int CellsTaken { get; init; }

    /// <summary>Vectors computed at every token at present.</summary>
    public int AttachedVectors { get; init; }

    /// <summary>How often that set was changed.</summary>
    public long AttachmentChanges { get; init; }

    /// <summary>Requests that ended by themselves.</summary>
    public long Finished { get; init; }

    /// <summary>Requests cancelled while they ran or waited.</summary>
    public long Cancelled { get; init; }

    /// <summary>Requests that failed.</summary>
    public long Failed { get; init; }

    /// <summary>Prompt tokens evaluated.</summary>
    public long PromptTokens { get; init; }

    /// <summary>Prompt tokens taken from the cache instead.</summary>
    public long CachedTokens { get; init; }

    /// <summary>Tokens generated.</summary>
    public long GeneratedTokens { get; init; }

    /// <summary>Batches decoded.</summary>
    public long Steps { get; init; }

    /// <summary>Time in decoding.</summary>
    public TimeSpan DecodeTime { get; init; }
}

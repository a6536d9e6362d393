using YaPO.Llama.Batching;
using YaPO.Llama.Server.Vectors;

namespace YaPO.Llama.Server;

/// <summary>What a server serves, to whom, and how much of it.</summary>
public sealed record ServerOptions
{
    /// <summary>The model's id in the API; aliases are this with <c>+vector</c> behind it.</summary>
    public required string ModelId { get; init; }

    /// <summary>The vectors that requests may name. Nothing else can be used: a request never names a file.</summary>
    public IReadOnlyList<NamedVector> Vectors { get; init; } = [];

    /// <summary>What steers a request that says nothing about steering.</summary>
    public IReadOnlyList<RequestedSteering> DefaultSteering { get; init; } = [];

    /// <summary>Address to listen on; the loopback address unless told otherwise.</summary>
    public string Host { get; init; } = "127.0.0.1";

    /// <summary>Port; 0: any free one.</summary>
    public int Port { get; init; } = 8080;

    /// <summary>Accepted keys; none: no key is asked for.</summary>
    public IReadOnlyList<string> ApiKeys { get; init; } = [];

    /// <summary>Host names that a request may address besides the loopback names, while listening on a loopback address; this keeps foreign web pages out.</summary>
    public IReadOnlyList<string> AllowedHosts { get; init; } = [];

    /// <summary>Web pages of this origin may call the API; null: none but the server's own.</summary>
    public string? CorsOrigin { get; init; }

    /// <summary>Largest request body, in bytes.</summary>
    public int BodyLimit { get; init; } = 1 << 20;

    /// <summary>Most messages of one conversation.</summary>
    public int MessageLimit { get; init; } = 256;

    /// <summary>Most answers of one request (prompts × n).</summary>
    public int ChoiceLimit { get; init; } = 16;

    /// <summary>Length of an answer where the request does not say, in tokens.</summary>
    public int DefaultMaxTokens { get; init; } = 512;

    /// <summary>Longest text of <c>/v1/embeddings</c>, in tokens, where the model gives embeddings. 8 bytes of memory for each of them and each token of the vocabulary.</summary>
    public int EmbeddingTokens { get; init; } = 512;

    /// <summary>Most texts of one request for embeddings.</summary>
    public int EmbeddingLimit { get; init; } = 256;

    /// <summary>Slots, sizes and threads.</summary>
    public BatchEngineOptions Engine { get; init; } = new();
}

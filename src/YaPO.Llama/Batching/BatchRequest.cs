using YaPO.Llama.Sessions;

namespace YaPO.Llama.Batching;

/// <summary>One answer that is wanted from a <see cref="BatchEngine"/>.</summary>
public sealed record BatchRequest
{
    /// <summary>What stands in front of the answer.</summary>
    public required PromptTokens Prompt { get; init; }

    /// <summary>What acts where: vectors among the engine's. Several settings of one vector add up.</summary>
    public IReadOnlyList<SteeringSetting> Steering { get; init; } = [];

    /// <summary>How the answer is generated; its length is cut to what the engine's request size leaves beside the prompt.</summary>
    public GenerationOptions Generation { get; init; } = new();

    /// <summary>The answer ends before the first of these texts; none may be empty.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>Log-probabilities of the sampled tokens and of so many likeliest ones besides; null: none.</summary>
    public int? TopLogProbs { get; init; }

    /// <summary>Whose request it is: the queue serves clients in turn.</summary>
    public string Client { get; init; } = "";
}

/// <summary>A token of an answer under the model's own distribution (temperature 1, no truncation, before penalties).</summary>
/// <param name="Id">Token id.</param>
/// <param name="LogProb">Nats.</param>
/// <param name="Top">The likeliest tokens at its position, most likely first.</param>
public sealed record SampledToken(int Id, double LogProb, IReadOnlyList<TokenLogProb> Top)
{
    /// <summary>
    /// Characters (UTF-16) of the answer in front of the token's text. Tokens that share a character begin where it does; one without text begins where the next one does.
    /// </summary>
    public int TextStart { get; init; }
}

/// <summary>A piece of an answer.</summary>
/// <param name="Text">Whole characters; may be empty while a stop text could be under way.</param>
/// <param name="TokenCount">Tokens generated since the piece before.</param>
/// <param name="LogProbs">Of the tokens that the text so far consists of, where they were asked for.</param>
public readonly record struct AnswerPiece(string Text, int TokenCount, IReadOnlyList<SampledToken> LogProbs);

/// <summary>How a request went.</summary>
/// <param name="Finish">Why it ended.</param>
/// <param name="PromptTokens">Tokens in front of the answer, BOS included.</param>
/// <param name="CachedTokens">Of those, how many were taken from the cache.</param>
/// <param name="GeneratedTokens">Tokens sampled, the end-of-turn token left out.</param>
/// <param name="QueueTime">Until it got a slot.</param>
/// <param name="PromptTime">From then until the first token.</param>
/// <param name="GenerationTime">From then on.</param>
public sealed record AnswerSummary(
    FinishReason Finish, int PromptTokens, int CachedTokens, int GeneratedTokens, TimeSpan QueueTime, TimeSpan PromptTime, TimeSpan GenerationTime);

/// <summary>Why an engine takes no request now.</summary>
public enum RefusalReason
{
    /// <summary>Too many are waiting.</summary>
    QueueFull,

    /// <summary>It is shutting down, or was while the request waited.</summary>
    Stopping,
}

/// <summary>The engine cannot take the request now; another time it may.</summary>
public sealed class RequestRefusedException(RefusalReason reason, string message) : Exception(message)
{
    /// <summary>Why.</summary>
    public RefusalReason Reason { get; } = reason;
}

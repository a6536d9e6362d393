namespace YaPO.Llama.Sessions;

/// <summary>How a session is set up.</summary>
public sealed record SessionOptions
{
    /// <summary>Size and threads of the context.</summary>
    public ContextOptions Context { get; init; } = new();

    /// <summary>Instructions in front of the conversation; folded into the first user turn where the template knows no system role.</summary>
    public string? System { get; init; }

    /// <summary>A Jinja template instead of the model's own.</summary>
    public string? TemplateOverride { get; init; }

    /// <summary>
    /// Leaves positions as they were computed when vectors, strengths or positions change, instead of evaluating them again. Faster, and no longer what a
    /// fresh run gives.
    /// </summary>
    public bool KeepCache { get; init; }
}

/// <summary>How one answer is generated.</summary>
public sealed record GenerationOptions
{
    /// <summary>Most tokens of the answer.</summary>
    public int MaxTokens { get; init; } = 512;

    /// <summary>How tokens are chosen.</summary>
    public SamplerOptions Sampler { get; init; } = new();

    /// <summary>Goes on after end-of-turn tokens, up to <see cref="MaxTokens"/>: for measurements.</summary>
    public bool IgnoreEnd { get; init; }
}

/// <summary>Why an answer ended.</summary>
public enum FinishReason
{
    /// <summary>The model ended it.</summary>
    Stop,

    /// <summary><see cref="GenerationOptions.MaxTokens"/>, or no room left in the context.</summary>
    Length,

    /// <summary>Cancelled, or the caller stopped reading; what was generated is kept.</summary>
    Cancelled,
}

/// <summary>An answer and what it took.</summary>
/// <param name="Text">Without control tokens.</param>
/// <param name="Tokens">The sampled ids without the end-of-turn token.</param>
/// <param name="Finish">Why it ended.</param>
/// <param name="PromptTokens">Tokens in front of it, BOS included.</param>
/// <param name="EvaluatedTokens">Of those, how many were computed now; the others were in the cache.</param>
/// <param name="PromptTime">Until the logits of the first token were there.</param>
/// <param name="GenerationTime">From then on.</param>
/// <param name="DroppedTurns">Turns that were dropped from the front of the conversation for room.</param>
public sealed record GeneratedAnswer(
    string Text,
    IReadOnlyList<int> Tokens,
    FinishReason Finish,
    int PromptTokens,
    int EvaluatedTokens,
    TimeSpan PromptTime,
    TimeSpan GenerationTime,
    int DroppedTurns);

/// <summary>A piece of text of one of two answers that are generated side by side.</summary>
/// <param name="Steered">Whether it belongs to the steered answer.</param>
/// <param name="Text">The piece.</param>
public readonly record struct ComparedPiece(bool Steered, string Text);

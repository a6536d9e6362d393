using YaPO.Llama.Models;

namespace YaPO.Llama.Sessions;

/// <summary>A prompt and a completion whose probability is asked for. The completion is scored token by token, each from all tokens before it.</summary>
/// <param name="Prompt">Token ids; at least one, since the first completion token is predicted from the last of them.</param>
/// <param name="Completion">Token ids; empty scores as 0.</param>
public sealed record ScoreRequest(IReadOnlyList<int> Prompt, IReadOnlyList<int> Completion)
{
    /// <summary>Raw text, prompt and completion tokenized separately, special tokens parsed, BOS as the model wants.</summary>
    public static ScoreRequest FromText(LlamaModel model, string prompt, string completion)
    {
        ArgumentNullException.ThrowIfNull(model);
        return new ScoreRequest(model.Tokenize(prompt), model.Tokenize(completion, addSpecial: false));
    }

    /// <summary>A conversation rendered by the chat template, ending with the header of the answer, and the answer's text.</summary>
    public static ScoreRequest FromChat(LlamaModel model, IReadOnlyList<ChatMessage> messages, string completion)
    {
        ArgumentNullException.ThrowIfNull(model);
        return new ScoreRequest(model.TokenizeChat(model.FormatChat(messages)), model.Tokenize(completion, addSpecial: false));
    }
}

/// <summary>A token and its natural log-probability.</summary>
/// <param name="Token">Id.</param>
/// <param name="LogProb">Nats.</param>
public readonly record struct TokenLogProb(int Token, double LogProb);

/// <summary>What a completion scored.</summary>
/// <param name="LogProb">Sum of <paramref name="TokenLogProbs"/>, in nats.</param>
/// <param name="TokenLogProbs">One per completion token.</param>
/// <param name="Tokens">The completion's ids.</param>
/// <param name="Top">The likeliest tokens at each completion position, most likely first; empty unless asked for.</param>
public sealed record ScoreResult(
    double LogProb, IReadOnlyList<double> TokenLogProbs, IReadOnlyList<int> Tokens, IReadOnlyList<IReadOnlyList<TokenLogProb>> Top);

/// <summary>How a <see cref="Scorer"/> works.</summary>
public sealed record ScorerOptions
{
    /// <summary>Size and threads; <see cref="ContextOptions.Sequences"/> bounds how many requests are evaluated together (0: 8, 1: each alone).</summary>
    public ContextOptions Context { get; init; } = new();

    /// <summary>N: how many of the likeliest tokens to return per position.</summary>
    public int Top { get; init; }
}

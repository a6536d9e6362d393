using YaPO.Llama.Steering;

namespace YaPO.Llama.Training.Pairs;

/// <summary>A prompt with one completion as token ids.</summary>
/// <param name="Tokens">Prompt and completion, [T].</param>
/// <param name="CompletionStart">Index of the first completion token; at least 1, since every scored token needs one before it.</param>
/// <param name="HasBos">Whether the first token is BOS.</param>
/// <param name="EndTokens">How many tokens at the end close the turn (end of turn, EOS): scored, but no part of the answer's words.</param>
public sealed record EncodedSequence(int[] Tokens, int CompletionStart, bool HasBos, int EndTokens)
{
    /// <summary>What the token at a position is, for <see cref="SteeringPositions.Steers"/>.</summary>
    public TokenRole Role(int position) => position == 0 && HasBos ? TokenRole.Bos
        : position >= CompletionStart ? TokenRole.Answer
        : position == CompletionStart - 1 ? TokenRole.PromptEnd
        : TokenRole.Prompt;

    /// <summary>1 where <paramref name="positions"/> steers, else 0, [T].</summary>
    public float[] Weights(SteeringPositions positions)
    {
        var weights = new float[Tokens.Length];
        for (var t = 0; t < weights.Length; t++)
        {
            weights[t] = positions.Steers(t, Role(t)) ? 1 : 0;
        }

        return weights;
    }
}

/// <summary>A preference pair as token ids.</summary>
/// <param name="Chosen">Prompt and preferred answer.</param>
/// <param name="Rejected">Prompt and answer to avoid.</param>
public sealed record EncodedPair(EncodedSequence Chosen, EncodedSequence Rejected);

namespace YaPO.Llama.Training.LanguageModels;

/// <summary>
/// Training rows as a pure function of the step, so that a resumed run sees what an uninterrupted one would have seen.
/// </summary>
public interface ITokenBatches
{
    /// <summary>A short text that identifies the data and its order (hash and seed); part of a checkpoint's configuration.</summary>
    string Identity { get; }

    /// <summary>
    /// Fills <paramref name="rows"/> [B, T+1], row-major, with the token ids of zero-based step <paramref name="stepIndex"/>. Inputs are columns
    /// 0..T−1, targets 1..T; a target of −1 is not scored.
    /// </summary>
    void Fill(long stepIndex, int sequences, int rowLength, Span<int> rows);
}

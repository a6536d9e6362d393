namespace YaPO.Llama.Training.LanguageModels;

/// <summary>What one optimizer step or evaluation reports.</summary>
/// <param name="Loss">Mean cross-entropy per scored token, nats.</param>
/// <param name="GradientNorm">Global norm before clipping; 0 for an evaluation.</param>
/// <param name="Tokens">Scored tokens.</param>
public readonly record struct LanguageModelStep(double Loss, double GradientNorm, double Tokens);

/// <summary>A model with all its parameters, their AdamW moments, and the gradients of the cross-entropy.</summary>
public interface ILanguageModelEngine : IDisposable
{
    /// <summary>One AdamW step on rows [B, T+1].</summary>
    LanguageModelStep TrainStep(ReadOnlySpan<int> rows, int sequences, double learningRate);

    /// <summary>Loss on rows [B, T+1].</summary>
    LanguageModelStep Evaluate(ReadOnlySpan<int> rows, int sequences);

    /// <summary>Writes the model as GGUF, atomically.</summary>
    void SaveModel(string path);

    /// <summary>Writes weights, moments and step count, atomically.</summary>
    void SaveState(string path);

    /// <summary>Restores exactly what <see cref="SaveState"/> wrote.</summary>
    void LoadState(string path);
}

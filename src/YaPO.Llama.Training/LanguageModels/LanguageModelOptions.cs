using System.Text.Json.Nodes;
using YaPO.Llama.IO;

namespace YaPO.Llama.Training.LanguageModels;

/// <summary>Settings of <see cref="LanguageModelTrainer"/>.</summary>
public sealed record LanguageModelOptions
{
    /// <summary>Tokens T of every row.</summary>
    public int ContextLength { get; init; } = 128;

    /// <summary>Rows B of every step; a multiple of <see cref="MicroBatch"/>.</summary>
    public int BatchSize { get; init; } = 8;

    /// <summary>Rows computed at once by one worker; decides the order of summation, and so the bytes of the result.</summary>
    public int MicroBatch { get; init; } = 4;

    /// <summary>Threads; never changes the result.</summary>
    public int Workers { get; init; } = 1;

    /// <summary>Optimizer steps.</summary>
    public int Steps { get; init; } = 1000;

    /// <summary>Peak learning rate.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Fraction of the peak left at the end of the cosine.</summary>
    public double FinalLearningRateFraction { get; init; } = 0.1;

    /// <summary>Steps of linear warm-up.</summary>
    public int WarmupSteps { get; init; } = 100;

    /// <summary>Decoupled weight decay.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>Decay of Adam's first moment.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of Adam's second moment.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Adam's ε.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Largest global gradient norm; 0 turns clipping off.</summary>
    public double GradientClip { get; init; } = 1.0;

    /// <summary>Folder for checkpoints, or null for none.</summary>
    public string? CheckpointFolder { get; init; }

    /// <summary>Seconds between checkpoints.</summary>
    public double CheckpointSeconds { get; init; } = 60;

    /// <summary>GGUF of the weights written at every checkpoint, to look at while training goes on; or null.</summary>
    public string? SnapshotPath { get; init; }

    /// <summary>Go on from the checkpoint where there is one; otherwise a checkpoint in the folder is an error.</summary>
    public bool Resume { get; init; }

    /// <summary>JSON Lines log, or null.</summary>
    public string? LogPath { get; init; }

    /// <summary>Validation rows [n, T+1], row-major, as in <see cref="ITokenBatches.Fill"/>; empty for none.</summary>
    public ReadOnlyMemory<int> ValidationRows { get; init; }

    /// <summary>Steps between validations; 0 only at the end.</summary>
    public int ValidateEvery { get; init; } = 200;

    /// <summary>Canonical JSON of everything that decides the result.</summary>
    public string ToCanonicalJson(string model, string data) => CanonicalJson.Write(new JsonObject
    {
        ["batch_size"] = BatchSize,
        ["beta1"] = Beta1,
        ["beta2"] = Beta2,
        ["context_length"] = ContextLength,
        ["data"] = data,
        ["epsilon"] = Epsilon,
        ["final_learning_rate_fraction"] = FinalLearningRateFraction,
        ["gradient_clip"] = GradientClip,
        ["learning_rate"] = LearningRate,
        ["micro_batch"] = MicroBatch,
        ["model_sha256"] = model,
        ["steps"] = Steps,
        ["warmup_steps"] = WarmupSteps,
        ["weight_decay"] = WeightDecay,
    });

    internal void Validate()
    {
        if (ContextLength < 1 || BatchSize < 1 || MicroBatch < 1 || Workers < 1 || Steps < 1)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "context length, batch size, micro-batch, workers and steps must all be at least 1");
        }

        if (BatchSize % MicroBatch != 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"batch size {BatchSize} is not a multiple of the micro-batch {MicroBatch}");
        }

        if (ValidationRows.Length % (ContextLength + 1) != 0 || ValidationRows.Length / (ContextLength + 1) % MicroBatch != 0)
        {
            throw new YapoException(
                YapoErrorKind.InvalidArgument,
                $"{ValidationRows.Length} validation tokens are not whole rows of {ContextLength + 1} whose number is a multiple of the micro-batch {MicroBatch}");
        }
    }
}

/// <summary>Outcome of a language-model run.</summary>
/// <param name="Steps">Steps done.</param>
/// <param name="Loss">Training loss of the last step, nats per token.</param>
/// <param name="ValidationLoss">Loss on the validation rows at the end; NaN without any.</param>
/// <param name="Seconds">Time spent, resumed runs included.</param>
/// <param name="Tokens">Tokens trained on.</param>
public sealed record LanguageModelResult(long Steps, double Loss, double ValidationLoss, double Seconds, long Tokens);

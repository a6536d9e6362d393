using System.Text.Json.Nodes;
using YaPO.Llama.Gguf;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Training;

/// <summary>Settings of <see cref="SaeTrainer"/>.</summary>
public sealed record SaeTrainingOptions
{
    /// <summary>GGUF model, any quantization.</summary>
    public required string Model { get; init; }

    /// <summary>Text, see <see cref="Residuals.TextCorpus"/>.</summary>
    public required string Data { get; init; }

    /// <summary>Zero-based block whose output is encoded.</summary>
    public required int Layer { get; init; }

    /// <summary>The SAE file to write.</summary>
    public required string Output { get; init; }

    /// <summary>Number of latents F.</summary>
    public int Latents { get; init; } = 4096;

    /// <summary>JumpReLU, whose thresholds are learned, or TopK, whose number of active latents is fixed.</summary>
    public SaeActivation Activation { get; init; } = SaeActivation.JumpRelu;

    /// <summary>JumpReLU: mean number of active latents per row that the sparsity penalty is steered to.</summary>
    public double TargetL0 { get; init; } = 32;

    /// <summary>TopK: number of active latents per row.</summary>
    public int TopK { get; init; } = 32;

    /// <summary>
    /// TopK: write a JumpReLU SAE instead, with one threshold for all latents, at which as many latents are active on average. Its latents do not depend on
    /// each other, so a vector needs only those it steers.
    /// </summary>
    public bool AsThreshold { get; init; }

    /// <summary>Rows to train on; the text is repeated as needed.</summary>
    public long Rows { get; init; } = 2_000_000;

    /// <summary>Rows per step; at least 64.</summary>
    public int BatchSize { get; init; } = 2048;

    /// <summary>Peak learning rate of Adam.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Share of the steps over which the learning rate warms up.</summary>
    public double WarmupShare { get; init; } = 0.02;

    /// <summary>Share of the steps over which the target falls from <see cref="InitialL0Factor"/> times to <see cref="TargetL0"/>.</summary>
    public double SparsityWarmupShare { get; init; } = 0.3;

    /// <summary>Latents active at the start, in units of the target.</summary>
    public double InitialL0Factor { get; init; } = 4;

    /// <summary>Width of the straight-through kernel in units of the rows' standard deviation.</summary>
    public double Bandwidth { get; init; } = 0.2;

    /// <summary>Steps between resamplings of latents that did not fire in all of them; none in the last 30 % of training. 0: never.</summary>
    public int ResampleEvery { get; init; } = 100;

    /// <summary>Rows held out for evaluation.</summary>
    public int EvaluationRows { get; init; } = 8192;

    /// <summary>Rows captured and shuffled at once.</summary>
    public int BlockRows { get; init; } = 65536;

    /// <summary>Longest token window.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>Decides everything drawn.</summary>
    public ulong Seed { get; init; }

    /// <summary>Name recorded in the file; null: the output's file name.</summary>
    public string? Name { get; init; }

    /// <summary>Licence recorded in the file.</summary>
    public string License { get; init; } = "";

    /// <summary>Who is to be credited, recorded in the file.</summary>
    public string Attribution { get; init; } = "";

    /// <summary>Storage of the decoder rows.</summary>
    public GgmlType DecoderType { get; init; } = GgmlType.F32;

    /// <summary>Threads of llama.cpp; 0: the number of physical cores.</summary>
    public int Threads { get; init; }

    /// <summary>Threads of the trainer; 0: <see cref="Threads"/>, or the number of processors. Never changes the result.</summary>
    public int Workers { get; init; }

    /// <summary>Device of the forward passes.</summary>
    public ModelOptions ModelOptions { get; init; } = new();

    /// <summary>Folder for checkpoints, or null for none.</summary>
    public string? CheckpointFolder { get; init; }

    /// <summary>Seconds between checkpoints.</summary>
    public double CheckpointSeconds { get; init; } = 60;

    /// <summary>Go on from the checkpoint where there is one.</summary>
    public bool Resume { get; init; }

    /// <summary>JSON Lines log, or null.</summary>
    public string? LogPath { get; init; }

    internal int Steps => (int)Math.Max(1, Rows / BatchSize);

    internal long DeadAfter => (long)BatchSize * (ResampleEvery > 0 ? ResampleEvery : 100);

    /// <summary>Is the file a TopK SAE?</summary>
    public bool WritesTopK => IsTopK && !AsThreshold;

    internal bool IsTopK => Activation == SaeActivation.TopK;

    internal int WorkerCount => Workers > 0 ? Workers : Threads > 0 ? Threads : Environment.ProcessorCount;

    internal void Validate()
    {
        if (Latents < 1 || BatchSize < 64 || Rows < BatchSize || EvaluationRows < 64 || BlockRows < BatchSize || MaxTokens < 2 || ResampleEvery < 0)
        {
            throw new YapoException(
                YapoErrorKind.InvalidArgument,
                $"latents {Latents}, rows {Rows}, batch size {BatchSize}, block rows {BlockRows}, evaluation rows {EvaluationRows}, maximum tokens {MaxTokens}: the batch and the evaluation must be at least 64 rows, rows and blocks at least one batch");
        }

        if (Activation is not (SaeActivation.JumpRelu or SaeActivation.TopK) || (IsTopK && (TopK < 1 || TopK > Latents)) || (AsThreshold && !IsTopK))
        {
            throw new YapoException(
                YapoErrorKind.InvalidArgument, $"activation {Activation} with k = {TopK}{(AsThreshold ? ", written with a threshold" : "")}: JumpReLU has its own thresholds; TopK needs k from 1 to {Latents}");
        }

        if (!(LearningRate > 0) || !double.IsFinite(LearningRate))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"learning rate {LearningRate} must be finite and above 0");
        }

        // What steers the sparsity of a JumpReLU SAE plays no part in a TopK one.
        if (!IsTopK && (!(TargetL0 > 0) || TargetL0 > Latents || !(InitialL0Factor >= 1) || !(Bandwidth > 0) || !(SparsityWarmupShare is >= 0 and <= 1)))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"target L0 {TargetL0} must lie between 0 and {Latents}; the sparsity's warm-up between 0 and 1, the initial factor at least 1, the bandwidth above 0");
        }

        if (!(WarmupShare is >= 0 and <= 1))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"warm-up share {WarmupShare} must lie between 0 and 1");
        }
    }

    /// <summary>Canonical JSON of everything that decides the result but the files.</summary>
    public string ToCanonicalJson() => CanonicalJson.Write(new JsonObject
    {
        ["activation"] = SaeActivationName.Of(Activation),
        ["as_threshold"] = AsThreshold,
        ["bandwidth"] = Bandwidth,
        ["batch_size"] = BatchSize,
        ["block_rows"] = BlockRows,
        ["evaluation_rows"] = EvaluationRows,
        ["initial_l0_factor"] = InitialL0Factor,
        ["latents"] = Latents,
        ["layer"] = Layer,
        ["learning_rate"] = LearningRate,
        ["max_tokens"] = MaxTokens,
        ["resample_every"] = ResampleEvery,
        ["rows"] = Rows,
        ["seed"] = Seed,
        ["sparsity_warmup_share"] = SparsityWarmupShare,
        ["target_l0"] = TargetL0,
        ["topk"] = TopK,
        ["warmup_share"] = WarmupShare,
    });
}

/// <summary>What SAE training produced.</summary>
/// <param name="ExplainedVariance">Of the file, on held-out rows.</param>
/// <param name="L0">Of the file, on held-out rows.</param>
/// <param name="TrainedExplainedVariance">As it was trained, where the file has another form (TopK written with a threshold).</param>
/// <param name="TrainedL0">The same.</param>
/// <param name="Dead">Latents that did not fire on the last block of training rows.</param>
/// <param name="Steps">Optimizer steps.</param>
/// <param name="Rows">Rows trained on.</param>
/// <param name="Seconds">Time spent, resumed runs included.</param>
/// <param name="Bytes">Length of the file.</param>
public sealed record SaeTrainingResult(double ExplainedVariance, double L0, double? TrainedExplainedVariance, double? TrainedL0, int Dead, long Steps, long Rows, double Seconds, long Bytes);

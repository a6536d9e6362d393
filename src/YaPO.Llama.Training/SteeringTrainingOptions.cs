using System.Text.Json.Nodes;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Residuals;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Training;

/// <summary>How a vector is found.</summary>
public enum SteeringMethod
{
    /// <summary>Preference optimization in the latent space of an SAE (arXiv 2601.08441).</summary>
    Yapo,

    /// <summary>The same loss with a dense vector (BiPO, arXiv 2406.00045).</summary>
    Bipo,

    /// <summary>Mean difference of residuals at the answers (CAA, arXiv 2312.06681): forward passes only.</summary>
    Caa,

    /// <summary>Mean difference of SAE codes at the answers (SAS, arXiv 2503.00177): forward passes only.</summary>
    Sas,
}

/// <summary>Which of an answer's tokens CAA and SAS look at (the end token never counts).</summary>
public enum AnswerTokens
{
    /// <summary>Mean over all of them.</summary>
    Mean,

    /// <summary>The first: where the answer is a letter.</summary>
    First,

    /// <summary>The last.</summary>
    Last,
}

/// <summary>Settings of <see cref="SteeringTrainer"/>.</summary>
public sealed record SteeringTrainingOptions
{
    /// <summary>Method.</summary>
    public SteeringMethod Method { get; init; } = SteeringMethod.Yapo;

    /// <summary>GGUF model, any quantization.</summary>
    public required string Model { get; init; }

    /// <summary>SAE file; needed by yapo and sas.</summary>
    public string? Sae { get; init; }

    /// <summary>Zero-based block; null: the SAE's.</summary>
    public int? Layer { get; init; }

    /// <summary>Further blocks, each with an SAE where the method needs one: a vector at each, all trained together.</summary>
    public IReadOnlyList<(int? Layer, string? Sae)> FurtherLayers { get; init; } = [];

    /// <summary>Preference pairs, JSON Lines.</summary>
    public required string Data { get; init; }

    /// <summary>Validation pairs, or null.</summary>
    public string? ValidationData { get; init; }

    /// <summary>The <c>.ysv</c> file to write.</summary>
    public required string Output { get; init; }

    /// <summary>Name of the vector; null: the output's file name.</summary>
    public string? Name { get; init; }

    /// <summary>In words, what positive strength does.</summary>
    public string PositiveMeans { get; init; } = "prefers the chosen answers of the training pairs";

    /// <summary>Licence of the data, recorded.</summary>
    public string DataLicense { get; init; } = "";

    /// <summary>Numbers of the optimizer (yapo, bipo).</summary>
    public VectorOptimizerOptions Optimizer { get; init; } = new();

    /// <summary>Steered positions.</summary>
    public SteeringPositions Positions { get; init; } = SteeringPositions.All;

    /// <summary>Form of the text.</summary>
    public PairFormat Format { get; init; } = PairFormat.Template;

    /// <summary>Longest sequence in tokens.</summary>
    public int MaxTokens { get; init; } = 1024;

    /// <summary>Answer tokens that CAA and SAS look at.</summary>
    public AnswerTokens AnswerTokens { get; init; } = AnswerTokens.Mean;

    /// <summary>SAS keeps a feature of a side when it is active in at least this share of its examples.</summary>
    public double Tau { get; init; } = 0.7;

    /// <summary>Recommended strength recorded in the file.</summary>
    public double RecommendedStrength { get; init; } = 1;

    /// <summary>Storage of decoder rows in the file.</summary>
    public Gguf.GgmlType DecoderType { get; init; } = Gguf.GgmlType.F32;

    /// <summary>Threads of llama.cpp, which computes the blocks up to the layer; 0: the number of physical cores.</summary>
    public int Threads { get; init; }

    /// <summary>Pairs computed at once, one thread each; 0: <see cref="Threads"/>, or the number of processors. Never changes the result.</summary>
    public int Workers { get; init; }

    /// <summary>Device of the forward passes below the layer.</summary>
    public ModelOptions ModelOptions { get; init; } = new();

    /// <summary>What computes gradients (yapo, bipo).</summary>
    public IPairEngineFactory Engine { get; init; } = GgmlPairEngineFactory.Instance;

    /// <summary>Residuals of the same pairs, shared with other runs and theirs; null: captured by the run itself.</summary>
    public PairCapture? Captured { get; init; }

    /// <summary>Folder for checkpoints, or null for none.</summary>
    public string? CheckpointFolder { get; init; }

    /// <summary>Seconds between checkpoints.</summary>
    public double CheckpointSeconds { get; init; } = 30;

    /// <summary>Go on from the checkpoint where there is one.</summary>
    public bool Resume { get; init; }

    /// <summary>JSON Lines log, or null.</summary>
    public string? LogPath { get; init; }

    internal int WorkerCount => Workers > 0 ? Workers : Threads > 0 ? Threads : Environment.ProcessorCount;

    internal bool NeedsSae => Method is SteeringMethod.Yapo or SteeringMethod.Sas;

    internal IEnumerable<(int? Layer, string? Sae)> Layers() => FurtherLayers.Prepend((Layer, Sae));

    /// <summary>Lower-case name of the method, as files record it.</summary>
    public string MethodName => Method.ToString().ToLowerInvariant();

    /// <summary>Canonical JSON of everything that decides the vector but the files.</summary>
    /// <param name="layers">The steered blocks, lowest first.</param>
    public string ToCanonicalJson(params IReadOnlyList<int> layers)
    {
        var json = new JsonObject
        {
            ["method"] = MethodName,
            ["layer"] = layers[0],
            ["positions"] = Positions.ToString(),
            ["format"] = Format == PairFormat.Template ? "template" : "paper-compat",
            ["max_tokens"] = MaxTokens,
        };
        if (layers.Count > 1)
        {
            json["layers"] = new JsonArray([.. layers.Select(l => JsonValue.Create(l))]);
        }

        if (Method is SteeringMethod.Caa or SteeringMethod.Sas)
        {
            json["answer_tokens"] = AnswerTokens.ToString().ToLowerInvariant();
            if (Method == SteeringMethod.Sas)
            {
                json["tau"] = Tau;
            }
        }
        else
        {
            var o = Optimizer;
            json["steps"] = o.Steps;
            json["batch_size"] = o.BatchSize;
            json["learning_rate"] = o.LearningRate;
            json["learning_rate_unit"] = Method == SteeringMethod.Yapo ? "mean activation of the latent where it fires" : "root mean square of the residual stream";
            json["warmup_steps"] = o.WarmupSteps;
            json["weight_decay"] = o.WeightDecay;
            json["beta"] = o.Beta;
            json["gradient_clip"] = o.GradientClip;
            json["validate_every"] = o.ValidateEvery;
            json["patience"] = o.Patience;
            if (Method == SteeringMethod.Yapo)
            {
                json["l1"] = o.L1;
                json["max_features"] = o.MaxFeatures;
                json["refit_steps"] = o.RefitSteps;
            }
        }

        return CanonicalJson.Write(json);
    }
}

/// <summary>What a training run produced.</summary>
/// <param name="File">The file as written.</param>
/// <param name="Bytes">Its length.</param>
/// <param name="Pairs">Training pairs.</param>
/// <param name="ValidationPairs">Validation pairs.</param>
/// <param name="Shortened">Sequences whose prompt was shortened.</param>
/// <param name="ActiveLatents">Latents that fire somewhere on the data; 0 for dense methods.</param>
/// <param name="NegativeMass">Share of Σ|v| that is negative.</param>
/// <param name="Impacts">What each of the file's vectors does to the unsteered training rows of its block at strength 1.</param>
/// <param name="Optimized">Details of yapo and bipo; null for caa and sas.</param>
/// <param name="Seconds">Wall time of this call.</param>
public sealed record SteeringTrainingResult(
    SteeringFile File, long Bytes, int Pairs, int ValidationPairs, int Shortened, int ActiveLatents, double NegativeMass, IReadOnlyList<SteeringImpact> Impacts, OptimizedVector? Optimized, double Seconds)
{
    /// <summary>What the lowest vector does to the training rows at strength 1.</summary>
    public SteeringImpact Impact => Impacts[0];
}

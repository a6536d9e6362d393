using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Benchmarks;

/// <summary>One way to run the model, and what it is measured against.</summary>
internal sealed record SteeringArm(string Name, string Kind)
{
    public const string Unsteered = "unsteered";

    /// <summary>The arm whose time is 1.</summary>
    public string Baseline { get; init; } = Unsteered;

    /// <summary>Sequences decoded together; each has a vector of its own, or none.</summary>
    public int Sequences { get; init; } = 1;

    /// <summary>One for each sequence, or none.</summary>
    public IReadOnlyList<AttachedVector> Vectors { get; init; } = [];

    /// <summary>[L − 1, D] for llama.cpp's own control vector; empty: none.</summary>
    public float[] ControlVector { get; init; } = [];

    /// <summary>Whether the vectors go through the eval callback of an unpatched llama.cpp (libyapo-stock) instead of the graph.</summary>
    public bool Stock { get; init; }

    /// <summary>Read while decoding; null: none.</summary>
    public SaeReadout? Readout { get; init; }

    /// <summary>Whether it had vectors before the measurement and has none any more.</summary>
    public bool Detached { get; init; }

    /// <summary>Bytes of SAE rows and vectors that every step has to read beside the weights.</summary>
    public long ExtraBytes { get; init; }

    /// <summary>Multiply-adds per token beside those of the weights.</summary>
    public long ExtraProducts { get; init; }
}

/// <summary>What a model reads and multiplies for one token, whatever steers it.</summary>
/// <param name="Bytes">Of all weights but an embedding table that only single rows are taken from. Experts that a token is not sent to are counted too.</param>
/// <param name="Products">Entries of the matrices among them: one multiply-add each per token.</param>
internal sealed record ModelWork(long Bytes, long Products)
{
    public static ModelWork Of(string path)
    {
        using var file = GgufFile.Open(path);
        var rowsOnly = file.Tensors.Any(t => t.Name == "output.weight") ? "token_embd.weight" : null;
        var read = file.Tensors.Where(t => t.Name != rowsOnly).ToList();
        return new ModelWork(read.Sum(t => t.Bytes), read.Where(t => t.Shape.Count > 1).Sum(t => t.Elements));
    }

    /// <summary>The least that a step of a memory-bound machine can cost relative to the unsteered one.</summary>
    public double DecodeBound(SteeringArm arm) => 1 + ((double)arm.ExtraBytes / Bytes);

    /// <summary>The same for a compute-bound one.</summary>
    public double PrefillBound(SteeringArm arm) => 1 + ((double)arm.ExtraProducts / Products);
}

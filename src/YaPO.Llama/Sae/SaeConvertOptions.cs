using YaPO.Llama.Gguf;
using YaPO.Llama.Models;

namespace YaPO.Llama.Sae;

/// <summary>What to convert and how.</summary>
/// <param name="Input">The weights as published, or the folder that holds them.</param>
/// <param name="Output">The SAE GGUF to write.</param>
public sealed record SaeConvertOptions(string Input, string Output)
{
    /// <summary>One of <see cref="SaeConverter.Formats"/>, or <c>auto</c>.</summary>
    public string Format { get; init; } = "auto";

    /// <summary>Block number; needed only when neither the path nor the config says it.</summary>
    public int? Layer { get; init; }

    /// <summary>k of a TopK SAE; needed only when neither the path nor the config says it.</summary>
    public int? TopK { get; init; }

    /// <summary>c where the SAE was trained on c·x and does not say so; see <c>--input-scale</c>.</summary>
    public double? InputScale { get; init; }

    /// <summary>Storage of the decoder rows: F32, F16 or Q8_0.</summary>
    public GgmlType DecType { get; init; } = GgmlType.F32;

    /// <summary>The user's model, when given: its width must fit, and its identity is recorded.</summary>
    public ModelIdentity? Model { get; init; }

    /// <summary>Told the share done, 0 … 1.</summary>
    public IProgress<double>? Progress { get; init; }
}

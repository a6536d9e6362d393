using YaPO.Llama.Steering;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Sae.Formats;

/// <summary>What the files around the weights say. Null and empty mean that they do not.</summary>
internal sealed record SaeDescription
{
    public HookPoint Hook { get; init; } = new(null, HookPoint.Residual);

    /// <summary>Where a transcoder writes; null: where it reads.</summary>
    public HookPoint? Output { get; init; }

    public string BaseArchitecture { get; init; } = "";

    public string BaseName { get; init; } = "";

    public string Name { get; init; } = "";

    /// <summary>Where it comes from; empty: what the download's folders say.</summary>
    public string Source { get; init; } = "";

    public string License { get; init; } = "";

    public string Attribution { get; init; } = "";

    public int? TopK { get; init; }

    public double? AverageL0 { get; init; }
}

/// <summary>
/// The table of one published format: which files, which tensors with which axes, and which steps in which order turn them into the run-time form
/// <c>z = relu(h) · [h &gt; threshold]</c> (or TopK) on <c>h = enc · x + enc_bias</c>, <c>x̂ = decᵀ · z + dec_bias</c>.
/// </summary>
internal sealed record SaeFormat
{
    /// <summary>As <c>--format</c> spells it. Several tables may share one: the variants of a format.</summary>
    public required string Name { get; init; }

    /// <summary>For people.</summary>
    public required string Title { get; init; }

    /// <summary>Weight files to look for in a folder, best first.</summary>
    public required IReadOnlyList<string> Files { get; init; }

    /// <summary>Whether the tensors and the config are of this format.</summary>
    public required Func<SaeSource, bool> Recognizes { get; init; }

    /// <summary>Not null: the format is known, but nothing that steering can use; the reason.</summary>
    public string? Refusal { get; init; }

    public Func<SaeSource, SaeActivation> Activation { get; init; } = _ => SaeActivation.JumpRelu;

    public IReadOnlyList<SaeTensor> Tensors { get; init; } = [];

    /// <summary>Tensors whose presence means something that cannot be folded, with the reason.</summary>
    public IReadOnlyList<(string Name, string Reason)> Refused { get; init; } = [];

    /// <summary>In this order.</summary>
    public IReadOnlyList<SaeStep> Steps { get; init; } = [];

    /// <summary>A file beside the weights, and the tensor [F] in it that holds log10 of the share of tokens on which each feature fires.</summary>
    public (string File, string Tensor)? RatesFile { get; init; }

    public Func<SaeSource, SaeDescription> Describe { get; init; } = _ => new SaeDescription();

    /// <summary>The firing rates [F] of <see cref="RatesFile"/>; null: there is none.</summary>
    public float[]? Rates(SaeSource source, int f)
    {
        var path = RatesFile is { } named ? Path.Combine(Path.GetDirectoryName(Path.GetFullPath(source.Path))!, named.File) : null;
        if (!File.Exists(path))
        {
            return null;
        }

        using var file = TensorFile.Open(path);
        var shape = file.Info(RatesFile!.Value.Tensor).Shape;
        var rates = shape.SequenceEqual([f])
            ? file.Read(RatesFile.Value.Tensor).Select(x => MathF.Pow(10, x)).ToArray()
            : throw new YapoException(YapoErrorKind.Format, $"{path}: its rates have shape {file.Info(RatesFile.Value.Tensor).ShapeText}, expected ({f},)");
        return Array.TrueForAll(rates, r => r is >= 0 and <= 1.0001f) ? rates : throw new YapoException(YapoErrorKind.Format, $"{path}: it holds log10 of shares above 1");
    }
}

/// <summary>One step of a conversion.</summary>
/// <param name="Says">What the file records when it was done; empty: the step notes for itself what it did.</param>
/// <param name="Apply">The arithmetic.</param>
internal sealed record SaeStep(string Says, Action<SaeFolding> Apply)
{
    /// <summary>The matrix that it looks at; null: none.</summary>
    public SaePart? Reads { get; init; }

    /// <summary>Whether the config asks for it.</summary>
    public Func<SaeConfig, bool> When { get; init; } = _ => true;
}

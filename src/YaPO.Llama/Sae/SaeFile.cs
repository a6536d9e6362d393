using YaPO.Llama.Gguf;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sae;

/// <summary>
/// A sparse autoencoder in our GGUF layout (architecture <c>yapo-sae</c>, version 1), opened for reading. The [F] tensors are in memory,
/// the two matrices stay on disk and are read row by row: one row of D values per feature. D = d_model, F = width.
/// <code>pre = enc h + enc_bias    z = relu(pre) · [pre > threshold]    ĥ = dec^T z + dec_bias</code>
/// </summary>
public sealed class SaeFile : IDisposable
{
    /// <summary><c>general.architecture</c> of these files.</summary>
    public const string Architecture = "yapo-sae";

    /// <summary>The layout version this code reads and writes.</summary>
    public const uint FormatVersion = 1;

    private readonly GgufFile _file;
    private readonly GgufTensor _enc;
    private readonly GgufTensor _dec;
    private readonly Lazy<string> _identity;

    private SaeFile(GgufFile file, SaeInfo info)
    {
        long d = info.DModel, f = info.Width;
        ReadOnlySpan<GgmlType> rows = [GgmlType.F32, GgmlType.F16, GgmlType.BF16, GgmlType.Q8_0];
        _file = file;
        Info = info;
        _enc = file.RequireTensor("sae.enc", [d, f], rows);
        _dec = file.RequireTensor("sae.dec", [d, f], rows);
        EncBias = Finite("sae.enc_bias", f);
        DecBias = Finite("sae.dec_bias", d);
        Threshold = info.Activation == SaeActivation.JumpRelu || file.TryGetTensor("sae.threshold", out _) ? Finite("sae.threshold", f) : new float[f];
        Rate = file.TryGetTensor("sae.rate", out _) ? Finite("sae.rate", f) : null;
        Max = file.TryGetTensor("sae.max", out _) ? Finite("sae.max", f) : null;
        Labels = file.Metadata.GetStrings("sae.label");
        if (Labels is not null && Labels.Count != f)
        {
            throw new YapoException(YapoErrorKind.Format, $"{file.Path}: {Labels.Count} labels for {f} features");
        }

        _identity = new Lazy<string>(() => info.SourceSha256.Length > 0 ? info.SourceSha256 : InputFile.Sha256(file.Path));
    }

    /// <summary>The path it was opened with.</summary>
    public string Path => _file.Path;

    /// <summary>Length of the file.</summary>
    public long SizeBytes => _file.Length;

    /// <summary>What it is.</summary>
    public SaeInfo Info { get; }

    /// <summary>Storage type of the encoder rows.</summary>
    public GgmlType EncType => _enc.Type;

    /// <summary>Storage type of the decoder rows.</summary>
    public GgmlType DecType => _dec.Type;

    /// <summary>[F].</summary>
    public float[] EncBias { get; }

    /// <summary>[F]; zeros where the activation is a plain ReLU or TopK.</summary>
    public float[] Threshold { get; }

    /// <summary>[D].</summary>
    public float[] DecBias { get; }

    /// <summary>Share of tokens on which each feature fires, [F], where known.</summary>
    public float[]? Rate { get; }

    /// <summary>Largest activation seen of each feature, [F], where known.</summary>
    public float[]? Max { get; }

    /// <summary>What each feature stands for, [F], where known.</summary>
    public IReadOnlyList<string>? Labels { get; }

    /// <summary>
    /// The identity of the weights whatever their storage type: the SHA-256 of what they were converted from, else of this file (computed once).
    /// </summary>
    public string Identity => _identity.Value;

    /// <summary>Opens a file and checks metadata, shapes and the [F] tensors.</summary>
    /// <exception cref="YapoException">Missing, malformed, of an unknown version, or with entries that are not finite.</exception>
    public static SaeFile Open(string path)
    {
        var file = OpenGguf(path);
        try
        {
            return new SaeFile(file, ReadInfo(file));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static GgufFile OpenGguf(string path)
    {
        try
        {
            return GgufFile.Open(path);
        }
        catch (YapoException e) when (e.Kind == YapoErrorKind.Format && System.IO.Path.GetExtension(path).ToLowerInvariant() is ".npz" or ".safetensors" or ".pt")
        {
            throw new YapoException(e.Kind, $"{e.Message}; convert published SAEs with `sae convert`", e);
        }
    }

    /// <summary>Encoder rows of features <paramref name="first"/>, …: <paramref name="rows"/> holds n · D values.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: an entry is not finite, or the file cannot be read.</exception>
    public void ReadEncoder(int first, Span<float> rows) => ReadRows(_enc, first, rows);

    /// <summary>Decoder rows of features <paramref name="first"/>, …: <paramref name="rows"/> holds n · D values.</summary>
    /// <inheritdoc cref="ReadEncoder(int, Span{float})" path="/exception"/>
    public void ReadDecoder(int first, Span<float> rows) => ReadRows(_dec, first, rows);

    /// <summary>The whole encoder, [F, D].</summary>
    /// <inheritdoc cref="ReadEncoder(int, Span{float})" path="/exception"/>
    public float[] ReadEncoder() => ReadAll(_enc);

    /// <summary>The whole decoder, [F, D].</summary>
    /// <inheritdoc cref="ReadEncoder(int, Span{float})" path="/exception"/>
    public float[] ReadDecoder() => ReadAll(_dec);

    /// <summary>How a vector records this SAE.</summary>
    public SaeReference ToReference() => new()
    {
        Width = Info.Width,
        Name = Info.Name,
        Source = Info.Source,
        Sha256 = Identity,
        License = Info.License,
        Attribution = Info.Attribution,
        Activation = Info.Activation,
        TopK = Info.TopK,
    };

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static SaeInfo ReadInfo(GgufFile file)
    {
        if (file.Architecture != Architecture)
        {
            var hint = file.Architecture == SteeringFile.Architecture ? " (it is a steering vector)" : "; convert published SAEs with `sae convert`";
            throw new YapoException(YapoErrorKind.Format, $"{file.Path}: general.architecture is '{file.Architecture}', expected '{Architecture}'{hint}");
        }

        var metadata = file.Metadata;
        var version = metadata.RequireUInt32("yapo.format_version");
        if (version != FormatVersion)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{file.Path}: format version {version} is not supported, expected {FormatVersion}; a newer yapo-llama may read it");
        }

        var info = new SaeInfo
        {
            Layer = Number("yapo.sae.layer"),
            DModel = Number("yapo.sae.d_model"),
            Width = Number("yapo.sae.width"),
            Site = metadata.GetString("yapo.sae.site") ?? "res",
            Activation = SaeActivationName.Parse(metadata.RequireString("yapo.sae.activation"), file.Path),
            TopK = metadata.ContainsKey("yapo.sae.topk") ? Number("yapo.sae.topk") : 0,
            Base = BaseModel.Read(metadata),
            Name = metadata.GetString("yapo.sae.name") ?? "",
            Source = metadata.GetString("yapo.sae.source") ?? "",
            SourceSha256 = metadata.GetString("yapo.sae.source_sha256") ?? "",
            License = metadata.GetString("yapo.sae.license") ?? "",
            Attribution = metadata.GetString("yapo.sae.attribution") ?? "",
            Conversion = metadata.GetStrings("yapo.sae.conversion")?.ToArray() ?? [],
            AverageL0 = metadata.GetFloat("yapo.sae.average_l0"),
        };
        info.Validate(file.Path);
        return info;

        int Number(string key) => (int)Math.Min(metadata.RequireUInt32(key), int.MaxValue);
    }

    private void ReadRows(GgufTensor tensor, int first, Span<float> rows)
    {
        _file.ReadRows(tensor, first, rows);
        RequireFinite(tensor, first, rows);
    }

    private float[] ReadAll(GgufTensor tensor)
    {
        var values = _file.ReadFloats(tensor);
        RequireFinite(tensor, 0, values);
        return values;
    }

    private void RequireFinite(GgufTensor tensor, int first, ReadOnlySpan<float> rows)
    {
        if (FeatureRows.IndexOfNotFinite(rows) is >= 0 and var bad)
        {
            throw new YapoException(YapoErrorKind.Format, $"{_file.Path}: {tensor.Name}: feature {first + (bad / Info.DModel)} holds {rows[bad]}; every value must be finite");
        }
    }

    private float[] Finite(string name, long n)
    {
        var values = _file.ReadFloats(_file.RequireTensor(name, [n], GgmlType.F32));
        var bad = Array.FindIndex(values, x => !float.IsFinite(x));
        return bad < 0 ? values : throw new YapoException(YapoErrorKind.Format, $"{_file.Path}: tensor '{name}'[{bad}] is {values[bad]}; every value must be finite");
    }
}

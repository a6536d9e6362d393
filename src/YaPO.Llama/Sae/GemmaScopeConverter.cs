using YaPO.Llama.Gguf;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Numpy;
using YaPO.Llama.Steering;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Sae;

/// <summary>What to convert and how.</summary>
/// <param name="Input">A Gemma Scope <c>params.npz</c>, or the folder that holds it.</param>
/// <param name="Output">The SAE GGUF to write.</param>
public sealed record GemmaScopeOptions(string Input, string Output)
{
    /// <summary>Block number; needed only when the path does not say <c>layer_N</c>.</summary>
    public int? Layer { get; init; }

    /// <summary>Storage of the decoder rows: F32, F16 or Q8_0.</summary>
    public GgmlType DecType { get; init; } = GgmlType.F32;

    /// <summary>The user's model, when given: its width must fit, and its identity is recorded.</summary>
    public ModelIdentity? Model { get; init; }

    /// <summary>Told the share done, 0 … 1.</summary>
    public IProgress<double>? Progress { get; init; }
}

/// <summary>
/// Converts Gemma Scope SAEs (JumpReLU): W_enc [D, F], W_dec [F, D], b_enc [F], b_dec [D], threshold [F]. The semantics are ours already,
/// so nothing is folded; the encoder is transposed to one row per feature, block by block, with bounded memory.
/// </summary>
public static class GemmaScopeConverter
{
    private const long BlockElements = 1 << 24; // 64 MiB of floats

    /// <summary>Whether the path looks like a Gemma Scope download.</summary>
    public static bool Recognizes(string path) => FindInput(path) is { } file && file.EndsWith(".npz", StringComparison.OrdinalIgnoreCase);

    /// <summary>Converts; returns what was written. The output appears only when it is whole.</summary>
    /// <exception cref="YapoException">The input is no Gemma Scope residual SAE, the layer is unknown, or the model does not fit.</exception>
    public static SaeInfo Convert(GemmaScopeOptions options, CancellationToken cancellation = default)
    {
        var input = FindInput(options.Input) ?? throw new YapoException(YapoErrorKind.Io, $"cannot read {options.Input}: there is no such file, or no params.npz in that folder");
        var path = GemmaScopePath.Parse(Path.GetFullPath(input));
        using var npz = NpzReader.Open(input);
        var (encHeader, decHeader) = (npz.Info(Name(npz, "W_enc")), npz.Info(Name(npz, "W_dec")));
        if (encHeader.Shape.Count != 2 || encHeader.Shape[0] < 1 || encHeader.Shape[0] > 1 << 20 || encHeader.Shape[1] < 1 || encHeader.Shape[1] > 1 << 26)
        {
            throw Bad(input, $"W_enc has shape {encHeader.ShapeText}, expected (d_model, width)");
        }

        var (d, f) = ((int)encHeader.Shape[0], (int)encHeader.Shape[1]);
        if (!decHeader.Shape.SequenceEqual([f, d]))
        {
            throw Bad(input, $"W_dec has shape {decHeader.ShapeText}, expected ({f}, {d}) to match W_enc {encHeader.ShapeText}");
        }

        SaeWriter.CheckDecType(options.DecType, d);
        var info = Describe(options, path, input, d, f) with { SourceSha256 = InputFile.Sha256(input, cancellation) };
        using var enc = npz.OpenTensor(Name(npz, "W_enc"), Folder(options.Output), cancellation);
        using var dec = npz.OpenTensor(Name(npz, "W_dec"), Folder(options.Output), cancellation);
        var rows = (int)Math.Clamp(BlockElements / d, 1, f);
        var done = 0;
        SaeWriter.Save(
            options.Output, info, Small(npz, "b_enc", f), Small(npz, "threshold", f), Small(npz, "b_dec", d),
            stream => Rows(enc, !encHeader.FortranOrder, stream, GgmlType.F32),
            stream => Rows(dec, decHeader.FortranOrder, stream, options.DecType),
            options.DecType);
        return info;

        // Writes one row of D per feature. strided: the array holds them as columns (C-order W_enc, or Fortran-order W_dec).
        void Rows(TensorData array, bool strided, Stream stream, GgmlType type)
        {
            var block = new float[(long)rows * d];
            var strip = new float[rows];
            for (var first = 0; first < f; first += rows)
            {
                cancellation.ThrowIfCancellationRequested();
                var n = Math.Min(rows, f - first);
                if (strided)
                {
                    for (var i = 0; i < d; i++)
                    {
                        array.Read(((long)i * f) + first, strip.AsSpan(0, n));
                        for (var j = 0; j < n; j++)
                        {
                            block[((long)j * d) + i] = strip[j];
                        }
                    }
                }
                else
                {
                    array.Read((long)first * d, block.AsSpan(0, n * d));
                }

                CheckFinite(block.AsSpan(0, n * d), array.Description, first, d);
                GgufWriter.WriteFloats(stream, type, block.AsSpan(0, n * d));
                done += n;
                options.Progress?.Report(done / (2.0 * f));
            }
        }
    }

    private static SaeInfo Describe(GemmaScopeOptions options, GemmaScopePath path, string input, int d, int f)
    {
        if (path.Site is not ("" or "res"))
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{input}: this is a '{path.Site}' SAE; only residual-stream SAEs (gemma-scope-*-res) can steer");
        }

        if (options.Layer is { } given && path.Layer is { } named && given != named)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{input}: the path says layer_{named}, --layer says {given}; leave --layer out or move the file");
        }

        var layer = options.Layer ?? path.Layer ?? throw new YapoException(
            YapoErrorKind.InvalidArgument, $"{input}: the path does not say which layer this SAE belongs to (no folder layer_N); give --layer");
        if (options.Model is { } model && model.DModel != d)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{input}: the SAE expects d_model {d}; the model {model.Name} has {model.DModel}. Is it for another model size?");
        }

        if (options.Model is { } deep && layer >= deep.LayerCount)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{input}: layer {layer} is out of range; the model {deep.Name} has blocks 0 … {deep.LayerCount - 1}");
        }

        return new SaeInfo
        {
            Layer = layer,
            DModel = d,
            Width = f,
            Base = options.Model?.ToBaseModel() ?? new BaseModel { Architecture = path.BaseName.Length > 0 ? "gemma2" : "", Name = path.BaseName },
            Name = path.Name.Length > 0 ? path.Name : Path.GetFileNameWithoutExtension(input),
            Source = path.Repository.Length > 0 ? $"huggingface:google/{path.Name}/params.npz" : Path.GetFileName(input),
            License = path.Repository.Length > 0 ? "cc-by-4.0" : "",
            Attribution = path.Repository.Length > 0 ? "Gemma Scope, Google DeepMind (Lieberum et al. 2024, arXiv 2408.05147)" : "",
            Conversion = ["W_enc transposed to one row per feature", $"decoder rows stored as {options.DecType}", "nothing folded: b_dec is not subtracted before encoding"],
            AverageL0 = path.AverageL0,
        };
    }

    private static float[] Small(NpzReader npz, string name, int n)
    {
        var header = npz.Info(Name(npz, name));
        if (!header.Shape.SequenceEqual([n]))
        {
            throw new YapoException(YapoErrorKind.Format, $"array '{name}' has shape {header.ShapeText}, expected ({n},)");
        }

        using var array = npz.OpenTensor(Name(npz, name));
        var values = array.ReadAll();
        CheckFinite(values, array.Description, 0, 1);
        return values;
    }

    private static void CheckFinite(ReadOnlySpan<float> values, string what, int firstRow, int rowLength)
    {
        for (var i = 0; i < values.Length; i++)
        {
            if (!float.IsFinite(values[i]))
            {
                throw new YapoException(YapoErrorKind.Format, $"{what}: feature {firstRow + (i / rowLength)} holds {values[i]}; every value must be finite");
            }
        }
    }

    /// <summary>Some mirrors spell W_enc and W_dec in lower case.</summary>
    private static string Name(NpzReader npz, string name) => npz.Contains(name) || !npz.Contains(name.ToLowerInvariant()) ? name : name.ToLowerInvariant();

    private static string? FindInput(string path)
    {
        if (File.Exists(path))
        {
            return path;
        }

        var inside = Path.Combine(path, "params.npz");
        return File.Exists(inside) ? inside : null;
    }

    private static string Folder(string output) => Path.GetDirectoryName(Path.GetFullPath(output)) ?? ".";

    private static YapoException Bad(string path, string message) => new(YapoErrorKind.Format, $"{path}: {message}");
}

using YaPO.Llama.Gguf;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sae;

/// <summary>The weights of an SAE in memory, rows per feature. D = d_model, F = width.</summary>
/// <param name="Enc">[F, D].</param>
/// <param name="EncBias">[F].</param>
/// <param name="Threshold">[F]; zeros for a plain ReLU.</param>
/// <param name="Dec">[F, D].</param>
/// <param name="DecBias">[D].</param>
/// <param name="Rate">[F], share of tokens on which each feature fires, where known.</param>
/// <param name="Max">[F], largest activation seen, where known.</param>
public sealed record SaeWeights(
    ReadOnlyMemory<float> Enc, ReadOnlyMemory<float> EncBias, ReadOnlyMemory<float> Threshold, ReadOnlyMemory<float> Dec, ReadOnlyMemory<float> DecBias,
    ReadOnlyMemory<float>? Rate = null, ReadOnlyMemory<float>? Max = null);

/// <summary>
/// Writes SAE files. Encoder rows are always F32: F16 rows turn massive residual entries into NaN and Q8_0 rows flip gates. Decoder rows
/// may be F32, F16 or Q8_0; their rounding changes by how much a feature acts (F16: 5e-4 relative; Q8_0: up to 1/254 of the
/// largest entry among 32), never when.
/// </summary>
public static class SaeWriter
{
    /// <summary>Writes weights held in memory.</summary>
    /// <exception cref="YapoException">The file cannot be written, or the weights are inconsistent.</exception>
    public static void Save(string path, SaeInfo info, SaeWeights weights, GgmlType decType = GgmlType.F32, IReadOnlyList<string>? labels = null)
    {
        Finite("enc", weights.Enc.Span);
        Finite("enc_bias", weights.EncBias.Span);
        Finite("threshold", weights.Threshold.Span);
        Finite("dec", weights.Dec.Span);
        Finite("dec_bias", weights.DecBias.Span);
        Save(
            path, info, weights.EncBias, weights.Threshold, weights.DecBias,
            stream => GgufWriter.WriteFloats(stream, GgmlType.F32, weights.Enc.Span),
            stream => GgufWriter.WriteFloats(stream, decType, weights.Dec.Span),
            decType, weights.Rate, weights.Max, labels);

        void Finite(string name, ReadOnlySpan<float> values)
        {
            for (var i = 0; i < values.Length; i++)
            {
                if (!float.IsFinite(values[i]))
                {
                    throw new YapoException(YapoErrorKind.Format, $"{path}: {name}[{i}] is {values[i]}; every value must be finite");
                }
            }
        }
    }

    /// <summary>Writes with both matrices streamed: each callback writes F rows of D values (encoder F32, decoder <paramref name="decType"/>).</summary>
    public static void Save(
        string path, SaeInfo info, ReadOnlyMemory<float> encBias, ReadOnlyMemory<float> threshold, ReadOnlyMemory<float> decBias,
        Action<Stream> writeEnc, Action<Stream> writeDec, GgmlType decType = GgmlType.F32,
        ReadOnlyMemory<float>? rate = null, ReadOnlyMemory<float>? max = null, IReadOnlyList<string>? labels = null)
    {
        info.Validate(path);
        CheckDecType(decType, info.DModel);
        long d = info.DModel, f = info.Width;
        var writer = new GgufWriter()
            .Set("general.architecture", SaeFile.Architecture)
            .Set("yapo.format_version", SaeFile.FormatVersion)
            .SetIfAny("general.name", info.Name);
        info.Base.Write(writer);
        writer.Set("yapo.sae.layer", (uint)info.Layer)
            .Set("yapo.sae.site", info.Site)
            .Set("yapo.sae.d_model", (uint)info.DModel)
            .Set("yapo.sae.width", (uint)info.Width)
            .Set("yapo.sae.activation", SaeActivationName.Of(info.Activation));
        if (info.Activation == SaeActivation.TopK)
        {
            writer.Set("yapo.sae.topk", (uint)info.TopK);
        }

        writer.SetIfAny("yapo.sae.name", info.Name)
            .SetIfAny("yapo.sae.source", info.Source)
            .SetIfAny("yapo.sae.source_sha256", info.SourceSha256)
            .SetIfAny("yapo.sae.license", info.License)
            .SetIfAny("yapo.sae.attribution", info.Attribution);
        if (info.Conversion.Count > 0)
        {
            writer.Set("yapo.sae.conversion", info.Conversion);
        }

        if (info.AverageL0 is { } l0)
        {
            writer.Set("yapo.sae.average_l0", l0);
        }

        if (labels is not null)
        {
            writer.Set("sae.label", labels);
        }

        // Small tensors first: they are read at open, the matrices row by row later.
        writer.AddTensor("sae.enc_bias", GgmlType.F32, [f], encBias)
            .AddTensor("sae.threshold", GgmlType.F32, [f], threshold)
            .AddTensor("sae.dec_bias", GgmlType.F32, [d], decBias);
        if (rate is { } rates)
        {
            writer.AddTensor("sae.rate", GgmlType.F32, [f], rates);
        }

        if (max is { } maxima)
        {
            writer.AddTensor("sae.max", GgmlType.F32, [f], maxima);
        }

        writer.AddTensor("sae.enc", GgmlType.F32, [d, f], writeEnc).AddTensor("sae.dec", decType, [d, f], writeDec).Save(path);
    }

    /// <summary>Refuses decoder types that the layout does not know or that D cannot be cut into.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/>.</exception>
    internal static void CheckDecType(GgmlType type, int d)
    {
        if (type is not (GgmlType.F32 or GgmlType.F16 or GgmlType.Q8_0))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"decoder rows of an SAE are stored as F32, F16 or Q8_0, not as {type}");
        }

        if (type == GgmlType.Q8_0 && d % 32 != 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"Q8_0 needs a d_model that is a multiple of 32, found {d}; use f16 or f32");
        }
    }
}

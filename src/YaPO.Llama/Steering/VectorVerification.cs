using System.Globalization;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Steering;

/// <summary>What a check found.</summary>
public enum CheckStatus
{
    /// <summary>As it should be.</summary>
    Ok,

    /// <summary>Not as it should be.</summary>
    Failed,

    /// <summary>The file does not record what would be needed to tell.</summary>
    Unknown,
}

/// <summary>One thing that was checked.</summary>
/// <param name="Name">What.</param>
/// <param name="Status">How it came out.</param>
/// <param name="Expected">What should hold.</param>
/// <param name="Found">What does.</param>
public sealed record VectorCheck(string Name, CheckStatus Status, string Expected, string Found)
{
    internal static VectorCheck Of(string name, bool ok, string expected, string found) => new(name, ok ? CheckStatus.Ok : CheckStatus.Failed, expected, found);
}

/// <summary>
/// Checks a vector file against itself, a model and an SAE. Reading a file (<see cref="SteeringFile.Load"/>) already refuses wrong counts and values
/// that are not finite; this finds what can be read but will not do what it says.
/// </summary>
public static class VectorVerification
{
    /// <summary>A recommended strength moves the residual stream by at most this multiple of its norm.</summary>
    public const double LargestRelativeEffect = 10;

    /// <summary>Strength and rows of every vector.</summary>
    public static IEnumerable<VectorCheck> Content(SteeringFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        foreach (var v in file.Vectors)
        {
            var range = v.MinStrength is null && v.MaxStrength is null ? "a number other than 0" : $"a number other than 0 in {Number(v.MinStrength ?? float.NegativeInfinity)} … {Number(v.MaxStrength ?? float.PositiveInfinity)}";
            yield return VectorCheck.Of(
                $"{v.Name}: recommended strength",
                v.RecommendedStrength != 0 && !(v.RecommendedStrength < v.MinStrength) && !(v.RecommendedStrength > v.MaxStrength),
                range,
                Number(v.RecommendedStrength));
            var zeros = v.Value.Count(x => x == 0);
            yield return v.Kind == VectorKind.Dense
                ? VectorCheck.Of($"{v.Name}: values", zeros < v.Value.Length, "finite, not all 0", zeros < v.Value.Length ? "finite" : "all 0: it does nothing")
                : VectorCheck.Of($"{v.Name}: values", zeros == 0, "finite, none 0", zeros == 0 ? "finite" : $"{zeros} of {v.K} are 0: these features only cost time");
            if (v.Kind == VectorKind.Sparse)
            {
                var (dec, enc) = (Empty(v.Dec, v.K), Empty(v.Enc, v.K));
                yield return VectorCheck.Of($"{v.Name}: rows", dec + enc == 0, "no row all 0", dec + enc == 0 ? $"{v.K} finite" : $"{enc} encoder and {dec} decoder rows are all 0");
            }

            var effect = Math.Abs(v.RecommendedStrength) * Norm(v.Flatten());
            yield return v.HNormMean is { } h && h > 0
                ? VectorCheck.Of(
                    $"{v.Name}: size at that strength",
                    effect <= LargestRelativeEffect * h,
                    $"‖flattened‖ at most {LargestRelativeEffect:0} times the mean ‖h‖ of {Number(h)}",
                    $"{Number(effect)}, {Number(effect / h)} times")
                : new VectorCheck($"{v.Name}: size at that strength", CheckStatus.Unknown, "compared with the mean ‖h‖", $"‖flattened‖ {Number(effect)}; the file records no h_norm_mean");
        }
    }

    /// <summary>Base model: width, layers, fingerprint, chat template.</summary>
    public static IEnumerable<VectorCheck> AgainstModel(SteeringFile file, ModelIdentity model)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(model);
        yield return VectorCheck.Of("d_model", file.DModel == model.DModel, Number(file.DModel), Number(model.DModel));
        foreach (var v in file.Vectors)
        {
            yield return VectorCheck.Of($"{v.Name}: layer", v.Layer < model.LayerCount, $"{v.Layer}", $"0 … {model.LayerCount - 1}");
        }

        // Control vectors record a hint instead of a fingerprint, and repeng's is Hugging Face's name ('mistral'), not GGUF's ('llama').
        var architecture = Recorded("architecture", file.Base.Architecture, model.Architecture);
        yield return architecture.Status == CheckStatus.Failed && file.Base.Fingerprint.Length == 0 ? architecture with { Status = CheckStatus.Unknown } : architecture;
        yield return Recorded("fingerprint", file.Base.Fingerprint, model.Fingerprint);
        yield return Recorded("chat template hash", file.Base.ChatTemplateSha256, model.ChatTemplateSha256.Length > 0 ? model.ChatTemplateSha256 : "none in the model");
    }

    /// <summary>Attaches each vector to a context: the residual stream at its layer must be reached, with the right shape.</summary>
    /// <param name="file">The vectors.</param>
    /// <param name="model">The model.</param>
    /// <param name="sae">The whole SAE, for TopK vectors.</param>
    public static IEnumerable<VectorCheck> Attached(SteeringFile file, LlamaModel model, SaeFile? sae = null)
    {
        ArgumentNullException.ThrowIfNull(file);
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 32, BatchSize = 32, Threads = 1 });
        foreach (var v in file.Vectors)
        {
            var found = "attached";
            try
            {
                context.SetVectors([SteeringSetting.Create(v, sae: sae).Vector]);
            }
            catch (YapoException e)
            {
                found = e.Message;
            }

            yield return VectorCheck.Of($"{v.Name}: hook", found == "attached", $"the graph offers layer {v.Layer}", found);
        }
    }

    /// <summary>The SAE that sparse vectors took their rows from: identity, shape, and the rows themselves.</summary>
    /// <param name="file">The vectors.</param>
    /// <param name="sae">The SAE.</param>
    public static IEnumerable<VectorCheck> AgainstSae(SteeringFile file, SaeFile sae)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(sae);
        foreach (var v in file.Vectors.Where(v => v.Kind == VectorKind.Sparse))
        {
            yield return Recorded($"{v.Name}: SAE identity", v.Sae!.Sha256, sae.Identity);
            var shape = $"layer {v.Layer}, d_model {file.DModel}, {v.Sae.Width} features";
            var found = $"layer {sae.Info.Layer}, d_model {sae.Info.DModel}, {sae.Info.Width} features";
            yield return VectorCheck.Of($"{v.Name}: SAE shape", shape == found, shape, found);
            if (file.DModel == sae.Info.DModel && v.Index[^1] < sae.Info.Width)
            {
                yield return Rows(v, sae);
            }
        }
    }

    // Storage types of either side round rows; biases and thresholds are F32 everywhere.
    private static VectorCheck Rows(SteeringVector v, SaeFile sae)
    {
        var d = sae.Info.DModel;
        var (encTolerance, decTolerance) = (Rounding(sae.EncType), Rounding(sae.DecType) + Rounding(v.DecType));
        var row = new float[d];
        var worst = (Relative: 0.0, Feature: -1, What: "");
        for (var j = 0; j < v.K; j++)
        {
            var feature = v.Index[j];
            sae.ReadEncoder(feature, row);
            Compare("encoder", Difference(row, v.Enc.AsSpan(j * d, d)), encTolerance);
            sae.ReadDecoder(feature, row);
            Compare("decoder", Difference(row, v.Dec.AsSpan(j * d, d)), decTolerance);
            if (sae.EncBias[feature] != v.EncBias[j] || sae.Threshold[feature] != v.Threshold[j])
            {
                worst = (double.PositiveInfinity, feature, "bias or threshold");
            }

            void Compare(string what, double difference, double tolerance)
            {
                if (difference > tolerance && difference > worst.Relative)
                {
                    worst = (difference, feature, what);
                }
            }
        }

        var stored = encTolerance + decTolerance == 0 ? "the SAE's, bit for bit" : "the SAE's, up to the rounding of the storage types";
        return VectorCheck.Of(
            $"{v.Name}: SAE rows",
            worst.Feature < 0,
            stored,
            worst.Feature < 0 ? $"{v.K} rows" : $"{worst.What} of feature {worst.Feature} differs" + (double.IsFinite(worst.Relative) ? $", by {Number(worst.Relative)} of its largest entry" : ""));
    }

    private static double Difference(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        var (difference, largest) = (0.0, 0.0);
        for (var i = 0; i < a.Length; i++)
        {
            difference = Math.Max(difference, Math.Abs((double)a[i] - b[i]));
            largest = Math.Max(largest, Math.Abs((double)a[i]));
        }

        return difference == 0 ? 0 : difference / Math.Max(largest, double.Epsilon);
    }

    /// <summary>Largest rounding error of a storage type, relative to the largest entry of a row.</summary>
    private static double Rounding(GgmlType type) => type switch
    {
        GgmlType.F32 => 0,
        GgmlType.F16 => 1.0 / 1024, // 2^-11, and room for subnormals
        GgmlType.BF16 => 1.0 / 256,
        _ => 1.0 / 127, // Q8_0: half a step of 1/127 of a block's largest
    };

    private static VectorCheck Recorded(string name, string expected, string found) => expected.Length == 0
        ? new VectorCheck(name, CheckStatus.Unknown, "not recorded in the file", found)
        : VectorCheck.Of(name, expected == found, expected, found);

    private static int Empty(float[] rows, int k)
    {
        var d = rows.Length / k;
        return Enumerable.Range(0, k).Count(j => rows.AsSpan(j * d, d).IndexOfAnyExcept(0f) < 0);
    }

    private static double Norm(float[] values) => Math.Sqrt(values.Sum(x => (double)x * x));

    private static string Number(double value) => value.ToString("G6", CultureInfo.InvariantCulture);
}

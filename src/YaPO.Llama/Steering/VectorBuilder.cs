using YaPO.Llama.Gguf;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Steering;

/// <summary>Makes steering vectors from an SAE and numbers: by hand, from a full-width array, or dense.</summary>
public static class VectorBuilder
{
    /// <summary>A sparse vector with the rows of the features in <paramref name="index"/> copied from the SAE. K ≪ F rows are read.</summary>
    /// <param name="sae">The SAE.</param>
    /// <param name="index">Features, in any order, each once.</param>
    /// <param name="value">v of each.</param>
    /// <param name="name">Name of the vector.</param>
    /// <param name="decType">Storage of its decoder rows: F32, BF16 or F16.</param>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/> for a feature out of range or there twice.</exception>
    public static SteeringVector Sparse(SaeFile sae, ReadOnlySpan<int> index, ReadOnlySpan<float> value, string name, GgmlType decType = GgmlType.F32)
    {
        if (index.Length == 0 || index.Length != value.Length)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"a sparse vector needs at least one feature and a value for each: {index.Length} features, {value.Length} values");
        }

        if (sae.Info.Site != "res")
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{sae.Path}: the SAE reads site '{sae.Info.Site}'; only SAEs of the residual stream can steer");
        }

        var sorted = index.ToArray();
        var values = value.ToArray();
        Array.Sort(sorted, values);
        for (var j = 0; j < sorted.Length; j++)
        {
            if (sorted[j] < 0 || sorted[j] >= sae.Info.Width)
            {
                throw new YapoException(YapoErrorKind.InvalidArgument, $"feature {sorted[j]} is out of range: {sae.Path} has features 0 … {sae.Info.Width - 1}");
            }

            if (j > 0 && sorted[j] == sorted[j - 1])
            {
                throw new YapoException(YapoErrorKind.InvalidArgument, $"feature {sorted[j]} is given twice");
            }
        }

        var d = sae.Info.DModel;
        if ((long)sorted.Length * d > Array.MaxLength)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{sorted.Length} features of {d} values are too many for one vector; prune it first");
        }

        var enc = new float[sorted.Length * d];
        var dec = new float[sorted.Length * d];
        for (var j = 0; j < sorted.Length; j++)
        {
            sae.ReadEncoder(sorted[j], enc.AsSpan(j * d, d));
            sae.ReadDecoder(sorted[j], dec.AsSpan(j * d, d));
        }

        var vector = new SteeringVector
        {
            Name = name,
            Kind = VectorKind.Sparse,
            Layer = sae.Info.Layer,
            Index = sorted,
            Value = values,
            Enc = enc,
            EncBias = Array.ConvertAll(sorted, j => sae.EncBias[j]),
            Threshold = Array.ConvertAll(sorted, j => sae.Threshold[j]),
            Dec = dec,
            DecType = decType,
            Rate = sae.Rate is { } rate ? Array.ConvertAll(sorted, j => rate[j]) : null,
            Max = sae.Max is { } max ? Array.ConvertAll(sorted, j => max[j]) : null,
            Labels = sae.Labels is { } labels ? Array.ConvertAll(sorted, j => labels[j]) : null,
            Sae = sae.ToReference(),
        };
        vector.Validate(d, $"vector '{name}' from {sae.Path}");
        return vector;
    }

    /// <summary>A sparse vector from features given by hand; <c>2xmax</c> needs an SAE that records its maxima.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/> as above, or where the maximum is not known.</exception>
    public static SteeringVector FromFeatures(SaeFile sae, IReadOnlyList<FeatureSpec> features, string name, GgmlType decType = GgmlType.F32)
    {
        var values = new float[features.Count];
        for (var i = 0; i < values.Length; i++)
        {
            var feature = features[i];
            values[i] = feature.Amount;
            if (feature.TimesMax)
            {
                if (sae.Max is not { } max || feature.Index >= max.Length || max[feature.Index] <= 0)
                {
                    throw new YapoException(
                        YapoErrorKind.InvalidArgument,
                        $"the largest activation of feature {feature.Index} is not known to {sae.Path}; give an amount instead, such as {feature.Index}:+40");
                }

                values[i] *= max[feature.Index];
            }
        }

        return Sparse(sae, features.Select(x => x.Index).ToArray(), values, name, decType);
    }

    /// <summary>A sparse vector from a full-width array [F]: its non-zero entries.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Mismatch"/> unless the array has F entries;
    /// <see cref="YapoErrorKind.Format"/> for entries that are not finite or all zero.</exception>
    public static SteeringVector FromWidth(SaeFile sae, ReadOnlySpan<float> values, string name, GgmlType decType = GgmlType.F32)
    {
        if (values.Length != sae.Info.Width)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"the array has {values.Length} entries, the SAE {sae.Path} has {sae.Info.Width} features; is it for another SAE, or dense?");
        }

        var index = new List<int>();
        for (var j = 0; j < values.Length; j++)
        {
            if (!float.IsFinite(values[j]))
            {
                throw new YapoException(YapoErrorKind.Format, $"entry {j} of the array is {values[j]}; every value must be finite");
            }

            if (values[j] != 0)
            {
                index.Add(j);
            }
        }

        if (index.Count == 0)
        {
            throw new YapoException(YapoErrorKind.Format, "every entry of the array is zero; such a vector does nothing");
        }

        var kept = new float[index.Count];
        for (var i = 0; i < kept.Length; i++)
        {
            kept[i] = values[index[i]];
        }

        return Sparse(sae, index.ToArray(), kept, name, decType);
    }

    /// <summary>A dense vector, h += λ v.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/> for entries that are not finite.</exception>
    public static SteeringVector Dense(float[] values, int layer, string name)
    {
        var vector = new SteeringVector { Name = name, Kind = VectorKind.Dense, Layer = layer, Value = values };
        vector.Validate(values.Length, $"vector '{name}'");
        return vector;
    }
}

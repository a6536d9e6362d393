using YaPO.Llama.Gguf;
using YaPO.Llama.IO;

namespace YaPO.Llama.Steering;

/// <summary>Writes the layout of <c>.ysv</c> files: keys in one fixed order, so that equal content gives equal bytes.</summary>
internal static class SteeringFileWriter
{
    public static GgufWriter Create(SteeringFile file)
    {
        var writer = new GgufWriter()
            .Set("general.architecture", SteeringFile.Architecture)
            .Set("yapo.format_version", SteeringFile.FormatVersion)
            .SetIfAny("general.name", file.Name)
            .SetIfAny("general.description", file.Description)
            .SetIfAny("general.license", file.License)
            .SetIfAny("general.author", file.Author);
        file.Base.Write(writer);
        writer.Set("yapo.d_model", (uint)file.DModel).Set("yapo.n_vectors", (uint)file.Vectors.Count);
        for (var i = 0; i < file.Vectors.Count; i++)
        {
            Metadata(writer, i, file.Vectors[i]);
        }

        Training(writer, file.Train);
        if (file.Parents.Count > 0)
        {
            writer.Set("yapo.parents", file.Parents);
        }

        writer.SetIfAny("yapo.evidence", file.Evidence.Length > 0 ? CanonicalJson.Normalize(file.Evidence, "the evidence block") : "");
        for (var i = 0; i < file.Vectors.Count; i++)
        {
            Tensors(writer, i, file.Vectors[i], file.DModel);
        }

        return writer;
    }

    private static void Metadata(GgufWriter writer, int i, SteeringVector vector)
    {
        var key = $"yapo.vector.{i}";
        writer.Set($"{key}.name", vector.Name)
            .Set($"{key}.kind", vector.Kind == VectorKind.Sparse ? "sparse" : "dense")
            .Set($"{key}.layer", (uint)vector.Layer)
            .Set($"{key}.operator", vector.Operator)
            .SetIfAny($"{key}.positive_means", vector.PositiveMeans)
            .Set($"{key}.positions", vector.Positions.ToString())
            .Set($"{key}.strength.recommended", vector.RecommendedStrength);
        Optional($"{key}.strength.min", vector.MinStrength);
        Optional($"{key}.strength.max", vector.MaxStrength);
        if (vector.Sae is { } sae && vector.Kind == VectorKind.Sparse)
        {
            writer.Set($"{key}.activation", SaeActivationName.Of(sae.Activation));
            if (sae.Activation == SaeActivation.TopK)
            {
                writer.Set($"{key}.topk", (uint)sae.TopK);
            }

            writer.Set($"{key}.sae.width", (uint)sae.Width)
                .SetIfAny($"{key}.sae.name", sae.Name)
                .SetIfAny($"{key}.sae.source", sae.Source)
                .SetIfAny($"{key}.sae.sha256", sae.Sha256)
                .SetIfAny($"{key}.sae.license", sae.License)
                .SetIfAny($"{key}.sae.attribution", sae.Attribution);
        }

        Optional($"{key}.h_norm_mean", vector.HNormMean);
        if (vector.Labels is not null)
        {
            writer.Set($"v.{i}.label", vector.Labels);
        }

        void Optional(string name, float? value)
        {
            if (value is { } x)
            {
                writer.Set(name, x);
            }
        }
    }

    private static void Training(GgufWriter writer, TrainingRecord? train)
    {
        if (train is null)
        {
            return;
        }

        writer.Set("yapo.train.method", train.Method)
            .SetIfAny("yapo.train.config", train.Config.Length > 0 ? CanonicalJson.Normalize(train.Config, "the training configuration") : "")
            .SetIfAny("yapo.train.data_sha256", train.DataSha256)
            .SetIfAny("yapo.train.data_license", train.DataLicense)
            .SetIfAny("yapo.train.engine", train.Engine);
        if (train.Seed is { } seed)
        {
            writer.Set("yapo.train.seed", seed);
        }
    }

    private static void Tensors(GgufWriter writer, int i, SteeringVector vector, long d)
    {
        if (vector.Kind == VectorKind.Dense)
        {
            writer.AddTensor($"v.{i}.value", GgmlType.F32, [d], vector.Value);
            return;
        }

        if (vector.DecType is not (GgmlType.F32 or GgmlType.BF16 or GgmlType.F16))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"decoder rows of a vector are stored as F32, BF16 or F16, not as {vector.DecType}");
        }

        long k = vector.K;
        writer.AddTensor($"v.{i}.index", [k], vector.Index)
            .AddTensor($"v.{i}.value", GgmlType.F32, [k], vector.Value)
            .AddTensor($"v.{i}.enc", GgmlType.F32, [d, k], vector.Enc)
            .AddTensor($"v.{i}.enc_bias", GgmlType.F32, [k], vector.EncBias)
            .AddTensor($"v.{i}.threshold", GgmlType.F32, [k], vector.Threshold)
            .AddTensor($"v.{i}.dec", vector.DecType, [d, k], vector.Dec);
        if (vector.Rate is { } rate)
        {
            writer.AddTensor($"v.{i}.rate", GgmlType.F32, [k], rate);
        }

        if (vector.Max is { } max)
        {
            writer.AddTensor($"v.{i}.max", GgmlType.F32, [k], max);
        }
    }
}

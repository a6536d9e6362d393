using YaPO.Llama.Gguf;
using YaPO.Llama.IO;
using YaPO.Llama.Models;

namespace YaPO.Llama.Steering;

/// <summary>Reads the layout of <c>.ysv</c> files. Unknown keys and tensors are ignored, unknown versions and kinds refused.</summary>
internal static class SteeringFileReader
{
    public static SteeringFile Read(GgufFile file)
    {
        if (file.Architecture != SteeringFile.Architecture)
        {
            var hint = file.Architecture == "yapo-sae" ? " (it is an SAE; make a vector from it with `vector new`)" : "";
            throw Bad(file, $"general.architecture is '{file.Architecture}', expected '{SteeringFile.Architecture}' or a control vector{hint}");
        }

        var metadata = file.Metadata;
        var version = metadata.RequireUInt32("yapo.format_version");
        if (version != SteeringFile.FormatVersion)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{file.Path}: format version {version} is not supported, expected {SteeringFile.FormatVersion}; a newer yapo-llama may read it");
        }

        var dModel = metadata.RequireUInt32("yapo.d_model");
        var count = metadata.RequireUInt32("yapo.n_vectors");
        if (dModel is < 1 or > 1 << 20 || count < 1 || count > file.Tensors.Count)
        {
            throw Bad(file, $"d_model {dModel} or n_vectors {count} is out of range (the file has {file.Tensors.Count} tensors)");
        }

        var result = new SteeringFile
        {
            Name = metadata.GetString("general.name") ?? "",
            Description = metadata.GetString("general.description") ?? "",
            License = metadata.GetString("general.license") ?? "",
            Author = metadata.GetString("general.author") ?? "",
            Base = BaseModel.Read(metadata),
            DModel = (int)dModel,
            Vectors = [.. Enumerable.Range(0, (int)count).Select(i => Vector(file, i, (int)dModel))],
            Train = Training(file),
            Parents = metadata.GetStrings("yapo.parents")?.ToArray() ?? [],
            Evidence = Json(file, "yapo.evidence"),
        };
        result.Validate(file.Path);
        return result;
    }

    private static SteeringVector Vector(GgufFile file, int i, int d)
    {
        var metadata = file.Metadata;
        var key = $"yapo.vector.{i}";
        var layer = metadata.RequireUInt32($"{key}.layer");
        var common = new SteeringVector
        {
            Name = metadata.GetString($"{key}.name") ?? $"vector {i}",
            Kind = metadata.RequireString($"{key}.kind") switch
            {
                "sparse" => VectorKind.Sparse,
                "dense" => VectorKind.Dense,
                var kind => throw new YapoException(YapoErrorKind.Unsupported, $"{file.Path}: vector {i} has kind '{kind}', expected 'sparse' or 'dense'"),
            },
            Layer = (int)Math.Min(layer, int.MaxValue),
            Value = [],
            Operator = metadata.GetString($"{key}.operator") ?? "add",
            PositiveMeans = metadata.GetString($"{key}.positive_means") ?? "",
            Positions = Positions(file, $"{key}.positions"),
            RecommendedStrength = metadata.GetFloat($"{key}.strength.recommended") ?? 1,
            MinStrength = metadata.GetFloat($"{key}.strength.min"),
            MaxStrength = metadata.GetFloat($"{key}.strength.max"),
            HNormMean = metadata.GetFloat($"{key}.h_norm_mean"),
        };

        if (common.Kind == VectorKind.Dense)
        {
            return common with { Value = Floats(file, $"v.{i}.value", d) };
        }

        var index = file.RequireTensor($"v.{i}.index");
        var k = index.Elements;
        if (index.Shape.Count != 1 || index.Type != GgmlType.I32 || k * d > Array.MaxLength)
        {
            throw Bad(file, $"tensor 'v.{i}.index' has type {index.Type} and shape {index.ShapeText}, expected I32 [K] with K * d_model below 2^31");
        }

        var dec = file.RequireTensor($"v.{i}.dec", [d, k], GgmlType.F32, GgmlType.BF16, GgmlType.F16);
        return common with
        {
            Index = file.ReadInt32(index),
            Value = Floats(file, $"v.{i}.value", k),
            Enc = Floats(file, $"v.{i}.enc", d, k),
            EncBias = Floats(file, $"v.{i}.enc_bias", k),
            Threshold = Floats(file, $"v.{i}.threshold", k),
            Dec = file.ReadFloats(dec),
            DecType = dec.Type,
            Rate = file.TryGetTensor($"v.{i}.rate", out _) ? Floats(file, $"v.{i}.rate", k) : null,
            Max = file.TryGetTensor($"v.{i}.max", out _) ? Floats(file, $"v.{i}.max", k) : null,
            Labels = metadata.GetStrings($"v.{i}.label")?.ToArray(),
            Sae = Sae(file, key),
        };
    }

    private static SaeReference Sae(GgufFile file, string key)
    {
        var metadata = file.Metadata;
        var width = metadata.RequireUInt32($"{key}.sae.width");
        var topK = metadata.GetUInt32($"{key}.topk") ?? 0;
        if (width > int.MaxValue || topK > width)
        {
            throw Bad(file, $"SAE width {width} or topk {topK} is out of range");
        }

        return new SaeReference
        {
            Width = (int)width,
            Name = metadata.GetString($"{key}.sae.name") ?? "",
            Source = metadata.GetString($"{key}.sae.source") ?? "",
            Sha256 = metadata.GetString($"{key}.sae.sha256") ?? "",
            License = metadata.GetString($"{key}.sae.license") ?? "",
            Attribution = metadata.GetString($"{key}.sae.attribution") ?? "",
            Activation = SaeActivationName.Parse(metadata.RequireString($"{key}.activation"), file.Path),
            TopK = (int)topK,
        };
    }

    private static TrainingRecord? Training(GgufFile file)
    {
        var metadata = file.Metadata;
        var method = metadata.GetString("yapo.train.method");
        return method is null ? null : new TrainingRecord
        {
            Method = method,
            Config = Json(file, "yapo.train.config"),
            DataSha256 = metadata.GetString("yapo.train.data_sha256") ?? "",
            DataLicense = metadata.GetString("yapo.train.data_license") ?? "",
            Engine = metadata.GetString("yapo.train.engine") ?? "",
            Seed = metadata.GetUInt64("yapo.train.seed"),
        };
    }

    private static string Json(GgufFile file, string key) =>
        file.Metadata.GetString(key) is { Length: > 0 } json ? CanonicalJson.Normalize(json, $"{file.Path}: key '{key}'") : "";

    private static SteeringPositions Positions(GgufFile file, string key) => file.Metadata.GetString(key) is not { } text ? SteeringPositions.All
        : SteeringPositions.TryParse(text, out var positions) ? positions
        : throw Bad(file, $"key '{key}' holds unknown positions '{text}'");

    private static float[] Floats(GgufFile file, string name, params ReadOnlySpan<long> shape) =>
        file.ReadFloats(file.RequireTensor(name, shape, GgmlType.F32));

    private static YapoException Bad(GgufFile file, string message) => new(YapoErrorKind.Format, $"{file.Path}: {message}");
}

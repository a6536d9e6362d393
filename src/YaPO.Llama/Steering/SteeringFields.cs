using System.Globalization;

namespace YaPO.Llama.Steering;

/// <summary>Everything a vector file says in words and numbers beside its arrays, as text under the keys of the <c>.ysv</c> layout; empty where it says nothing.</summary>
internal static class SteeringFields
{
    /// <summary>Of the file.</summary>
    public static IReadOnlyList<(string Key, string Text)> Of(SteeringFile f) =>
    [
        ("general.name", f.Name), ("general.description", f.Description), ("general.license", f.License), ("general.author", f.Author),
        ("yapo.base.architecture", f.Base.Architecture), ("yapo.base.name", f.Base.Name), ("yapo.base.fingerprint", f.Base.Fingerprint),
        ("yapo.base.file_sha256", f.Base.FileSha256), ("yapo.base.quantization", f.Base.Quantization), ("yapo.base.chat_template_sha256", f.Base.ChatTemplateSha256),
        ("yapo.d_model", Number(f.DModel)), ("yapo.n_vectors", Number(f.Vectors.Count)),
        ("yapo.train.method", f.Train?.Method ?? ""), ("yapo.train.config", f.Train?.Config ?? ""), ("yapo.train.data_sha256", f.Train?.DataSha256 ?? ""),
        ("yapo.train.data_license", f.Train?.DataLicense ?? ""), ("yapo.train.engine", f.Train?.Engine ?? ""),
        ("yapo.train.seed", f.Train?.Seed?.ToString(CultureInfo.InvariantCulture) ?? ""),
        ("yapo.parents", string.Join(", ", f.Parents)), ("yapo.evidence", f.Evidence),
    ];

    /// <summary>Of one vector, without the prefix <c>yapo.vector.i.</c>.</summary>
    public static IReadOnlyList<(string Key, string Text)> Of(SteeringVector v) =>
    [
        ("name", v.Name), ("kind", v.Kind == VectorKind.Sparse ? "sparse" : "dense"), ("layer", Number(v.Layer)), ("operator", v.Operator),
        ("positive_means", v.PositiveMeans), ("positions", v.Positions.ToString()),
        ("strength.recommended", Number(v.RecommendedStrength)), ("strength.min", Number(v.MinStrength)), ("strength.max", Number(v.MaxStrength)),
        ("activation", v.Sae is { } s ? SaeActivationName.Of(s.Activation) : ""), ("topk", v.Sae is { TopK: > 0 } k ? Number(k.TopK) : ""),
        ("sae.width", Number(v.Sae?.Width)), ("sae.name", v.Sae?.Name ?? ""), ("sae.source", v.Sae?.Source ?? ""), ("sae.sha256", v.Sae?.Sha256 ?? ""),
        ("sae.license", v.Sae?.License ?? ""), ("sae.attribution", v.Sae?.Attribution ?? ""), ("h_norm_mean", Number(v.HNormMean)),
    ];

    private static string Number(int? value) => value?.ToString(CultureInfo.InvariantCulture) ?? "";

    private static string Number(float? value) => value?.ToString("R", CultureInfo.InvariantCulture) ?? "";
}

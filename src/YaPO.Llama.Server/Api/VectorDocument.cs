using YaPO.Llama.Server.Vectors;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Server.Api;

/// <summary>A vector as <c>/v1/steering/vectors</c> shows it.</summary>
internal static class VectorDocument
{
    private const int MostFeatures = 24;

    public static object Of(NamedVector vector)
    {
        var file = vector.File;
        return new
        {
            Id = vector.Name,
            Object = "steering.vector",
            file.Name,
            file.Description,
            file.License,
            file.Author,
            Method = file.Train?.Method,
            PositiveMeans = string.Join("; ", file.Vectors.Select(v => v.PositiveMeans).Where(t => t.Length > 0).Distinct()),
            Strength = new
            {
                Default = vector.Settings[0].Strength,
                Least = vector.LeastStrength,
                Most = vector.MostStrength,
                SensibleLeast = file.Vectors.Min(v => v.MinStrength),
                SensibleMost = file.Vectors.Max(v => v.MaxStrength),
            },
            Positions = string.Join(", ", vector.Settings.Select(s => s.Positions.ToString()).Distinct()),
            Vectors = file.Vectors.Select(Part),
        };
    }

    private static object Part(SteeringVector v) => new
    {
        v.Name,
        Kind = v.Kind == VectorKind.Sparse ? "sparse" : "dense",
        v.Layer,
        Support = v.Kind == VectorKind.Sparse ? v.K : (int?)null,
        v.NegativeMass,
        Sae = v.Sae is { Name.Length: > 0 } sae ? new { sae.Name, sae.Width, sae.License, sae.Attribution } : null,
        Features = v.Kind == VectorKind.Sparse ? Features(v) : null,
    };

    /// <summary>What the vector changes most: the features with the largest entries.</summary>
    private static IEnumerable<object> Features(SteeringVector v) => Enumerable.Range(0, v.K)
        .OrderByDescending(j => Math.Abs(v.Value[j]))
        .Take(MostFeatures)
        .Select(j => new { Index = v.Index[j], Value = v.Value[j], Rate = v.Rate?[j], Max = v.Max?[j], Label = v.Labels?[j] is { Length: > 0 } label ? label : null });
}

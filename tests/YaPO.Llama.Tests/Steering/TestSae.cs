using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Steering;

/// <summary>Rows of a made-up SAE that depend on its seed and the feature alone, so that vectors made apart share them. About half of the features fire.</summary>
internal sealed class TestSae(int seed, int width = 64, int features = 512)
{
    public SaeReference Reference { get; } = new()
    {
        Width = features, Name = $"test sae {seed}", Sha256 = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData([(byte)seed])), License = "cc-by-4.0",
    };

    public SteeringVector Vector(int layer, string name, params (int Feature, float Value)[] entries)
    {
        var sorted = entries.OrderBy(e => e.Feature).ToArray();
        return new SteeringVector
        {
            Name = name,
            Kind = VectorKind.Sparse,
            Layer = layer,
            Index = [.. sorted.Select(e => e.Feature)],
            Value = [.. sorted.Select(e => e.Value)],
            Enc = [.. sorted.SelectMany(e => Values(e.Feature, 1, width, 1 / Math.Sqrt(width)))],
            EncBias = [.. sorted.Select(e => Values(e.Feature, 2, 1, 0.1)[0])],
            Threshold = [.. sorted.Select(e => Math.Abs(Values(e.Feature, 3, 1, 0.1)[0]))],
            Dec = [.. sorted.SelectMany(e => Values(e.Feature, 4, width, 1 / Math.Sqrt(width)))],
            Rate = [.. sorted.Select(e => Math.Min(1, Math.Abs(Values(e.Feature, 5, 1, 0.3)[0])))],
            Max = [.. sorted.Select(e => Math.Abs(Values(e.Feature, 6, 1, 3)[0]))],
            Labels = [.. sorted.Select(e => $"feature {e.Feature}")],
            Sae = Reference,
        };
    }

    /// <summary>Every third feature from <paramref name="first"/> on, values of both signs.</summary>
    public SteeringVector Vector(int layer, string name, int first, int count, int values)
    {
        var v = new Random(values);
        return Vector(layer, name, [.. Enumerable.Range(0, count).Select(i => (first + (3 * i), (float)(4 * (v.NextDouble() - 0.5))))]);
    }

    public static SteeringFile File(string name, params SteeringVector[] vectors) => new()
    {
        Name = name,
        Base = new BaseModel { Architecture = "gemma2", Name = "random", Fingerprint = new string('a', 64) },
        DModel = vectors[0].Kind == VectorKind.Dense ? vectors[0].Value.Length : vectors[0].Dec.Length / vectors[0].K,
        Vectors = vectors,
    };

    private float[] Values(int feature, int what, int n, double scale)
    {
        var random = new Random((((seed * 1000) + feature) * 10) + what);
        return [.. Enumerable.Range(0, n).Select(_ => (float)(scale * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];
    }
}

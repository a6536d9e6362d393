using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Steering;

/// <summary>Small valid steering files that use every field.</summary>
internal static class SampleVectors
{
    public const int D = 8;

    public static SteeringVector Sparse(int k = 3, int layer = 2, int seed = 1)
    {
        var random = new Random(seed);
        return new SteeringVector
        {
            Name = "egypt",
            Kind = VectorKind.Sparse,
            Layer = layer,
            Value = Values(k),
            PositiveMeans = "more Egyptian",
            Positions = SteeringPositions.Generated,
            RecommendedStrength = 1.5f,
            MinStrength = -0.5f,
            MaxStrength = 3,
            HNormMean = 87.5f,
            Index = [.. Enumerable.Range(0, k).Select(j => (j * 5) + 2)],
            Enc = Values(k * D),
            EncBias = Values(k),
            Threshold = Values(k),
            Dec = Values(k * D),
            Rate = Values(k),
            Max = Values(k),
            Labels = [.. Enumerable.Range(0, k).Select(j => $"größe {j}")],
            Sae = new SaeReference { Width = 64, Name = "sae", Source = "here", Sha256 = "00112233445566778899aabbccddeeff", License = "cc-by-4.0", Attribution = "someone" },
        };

        float[] Values(int n) => [.. Enumerable.Range(0, n).Select(_ => (float)(random.NextDouble() - 0.5))];
    }

    public static SteeringVector Dense(int layer = 3) => new()
    {
        Name = "dense", Kind = VectorKind.Dense, Layer = layer, Value = [1, -2, 3, -4, 5, -6, 7, -8],
    };

    public static SteeringFile File(params SteeringVector[] vectors) => new()
    {
        Name = "Egypt",
        Description = "everyday life",
        License = "mit",
        Author = "tests",
        Base = new BaseModel { Architecture = "gemma2", Name = "demo", Fingerprint = "ab", FileSha256 = "cd", Quantization = "Q4_K_M", ChatTemplateSha256 = "ef" },
        DModel = D,
        Vectors = vectors,
        Train = new TrainingRecord { Method = "yapo", Config = """{"steps": 3, "beta": 0.10}""", DataSha256 = "12", DataLicense = "cc0", Engine = "ggml", Seed = ulong.MaxValue },
        Parents = ["aa", "bb"],
        Evidence = """{"b": [1, 2.50], "a": "ü"}""",
    };
}

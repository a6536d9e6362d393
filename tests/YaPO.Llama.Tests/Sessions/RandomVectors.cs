using YaPO.Llama.Sessions;

namespace YaPO.Llama.Tests.Sessions;

/// <summary>Random steering vectors that visibly change a <see cref="RandomModel"/>.</summary>
internal static class RandomVectors
{
    public static AttachedVector Dense(int width, int layer, int seed = 1, double scale = 1) => AttachedVector.Dense($"dense {seed}", layer, Normal(seed, width, scale));

    /// <summary>Entries of both signs; about half of the latents are active.</summary>
    public static AttachedVector Sparse(int width, int layer, int k, int seed = 1, ulong saeId = 0) => AttachedVector.Sparse(
        $"sparse {seed}",
        layer,
        width,
        Enumerable.Range(0, k).Select(i => (3 * i) + 1).ToArray(),
        Normal(seed, k, 1),
        Normal(seed + 1, k * width, 1 / Math.Sqrt(width)),
        Normal(seed + 2, k, 0.1),
        Normal(seed + 3, k, 0.1).Select(Math.Abs).ToArray(),
        Normal(seed + 4, k * width, 1 / Math.Sqrt(width)),
        saeId);

    private static float[] Normal(int seed, int n, double scale)
    {
        var random = new Random(seed);
        var values = new float[n];
        for (var i = 0; i < n; i++)
        {
            values[i] = (float)(scale * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        }

        return values;
    }
}

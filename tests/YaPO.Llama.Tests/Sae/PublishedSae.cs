using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tensors;
using YaPO.Llama.Tests.Tensors;

namespace YaPO.Llama.Tests.Sae;

/// <summary>What an SAE makes of one row: activations in the units of the run-time form, and the reconstruction.</summary>
internal sealed record Codes(double[] Z, double[] Reconstruction);

/// <summary>
/// Random weights to be written in any format, one row per feature here: w[j], d[j]. Values are multiples of 2^-8 below 4 in size, so BF16, F16 and F32 hold them alike.
/// </summary>
internal sealed class PublishedSae
{
    public const int D = 24;
    public const int F = 40;

    public PublishedSae(int seed)
    {
        var random = new Random(seed);
        (W, Decoder) = (Rows(1.5), Rows(1));
        (EncBias, DecBias, Threshold) = (Values(F, 1), Values(D, 1), [.. Values(F, 2).Select(Math.Abs)]);
        (GateBias, LogMagnitude) = (Values(F, 2), Values(F, 0.7));

        double[][] Rows(double size) => [.. Enumerable.Range(0, F).Select(_ => Values(D, size))];
        double[] Values(int n, double size) => [.. Enumerable.Range(0, n).Select(_ => Math.Round(((random.NextDouble() * 2) - 1) * size * 64) / 64)];
    }

    public double[][] W { get; }

    public double[][] Decoder { get; }

    public double[] EncBias { get; }

    public double[] DecBias { get; }

    public double[] Threshold { get; }

    public double[] GateBias { get; }

    public double[] LogMagnitude { get; }

    /// <summary>A matrix as a source stores it: axes <c>FD</c> or <c>DF</c>.</summary>
    public static TestTensor Matrix(string name, string axes, double[][] rows, TensorType type = TensorType.F32) => axes == "FD"
        ? new(name, [F, D], [.. rows.SelectMany(r => r).Select(x => (float)x)], type)
        : new(name, [D, F], [.. Enumerable.Range(0, D * F).Select(i => (float)rows[i % F][i / F])], type);

    public static TestTensor Vector(string name, double[] values, TensorType type = TensorType.F32) => new(name, [values.Length], [.. values.Select(x => (float)x)], type);

    public static TestTensor Scalar(string name, double value) => new(name, [], [(float)value]);

    public static double Dot(double[] a, double[] b) => a.Zip(b).Sum(p => p.First * p.Second);

    public static double[] Minus(double[] a, double[] b) => [.. a.Zip(b, (x, y) => x - y)];

    public static double Norm(double[] a) => Math.Sqrt(Dot(a, a));

    /// <summary>Σ_j z_j · scale_j · d_j + bias.</summary>
    public Codes Decode(double[] z, double[] bias, Func<int, double>? scale = null)
    {
        var sum = bias.ToArray();
        for (var j = 0; j < F; j++)
        {
            for (var i = 0; i < D; i++)
            {
                sum[i] += z[j] * (scale?.Invoke(j) ?? 1) * Decoder[j][i];
            }
        }

        return new Codes(z, sum);
    }

    /// <summary>Keeps the k largest, negative ones as 0.</summary>
    public static double[] TopK(IEnumerable<double> h, int k)
    {
        var all = h.ToArray();
        var kept = Enumerable.Range(0, all.Length).OrderByDescending(j => all[j]).Take(k).ToHashSet();
        return [.. all.Select((x, j) => kept.Contains(j) ? Math.Max(0, x) : 0)];
    }

    /// <summary>Random residual rows.</summary>
    public static IEnumerable<double[]> Inputs(int seed, int count = 60)
    {
        var random = new Random(seed);
        return Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, D).Select(_ => (random.NextDouble() * 4) - 2).ToArray());
    }

    /// <summary>The run-time form, in double: h = enc·x + b, z = relu(h)·[h &gt; threshold] or relu of the k largest, x̂ = Σ z·dec + b.</summary>
    public static Codes RunTime(SaeFile sae, double[] x)
    {
        var (d, f) = (sae.Info.DModel, sae.Info.Width);
        double[] enc = [.. sae.ReadEncoder()], dec = [.. sae.ReadDecoder()];
        double[] h = [.. Enumerable.Range(0, f).Select(j => Dot(enc[(j * d)..((j + 1) * d)], x) + sae.EncBias[j])];
        var z = sae.Info.Activation == SaeActivation.TopK ? TopK(h, sae.Info.TopK) : [.. h.Select((v, j) => v > 0 && v > sae.Threshold[j] ? v : 0)];
        double[] sum = [.. sae.DecBias];
        for (var i = 0; i < f * d; i++)
        {
            sum[i % d] += z[i / d] * dec[i];
        }

        return new Codes(z, sum);
    }

    /// <summary>Both forms agree on every row: the same features fire, activations and reconstruction differ by rounding to F32 only.</summary>
    public static void AssertSame(SaeFile sae, Func<double[], Codes> original, int seed = 99)
    {
        var fired = 0;
        foreach (var x in Inputs(seed))
        {
            var (expected, found) = (original(x), RunTime(sae, x));
            for (var j = 0; j < F; j++)
            {
                Assert.True((expected.Z[j] > 0) == (found.Z[j] > 0), $"feature {j}: {expected.Z[j]} in the original, {found.Z[j]} at run time");
                Assert.True(Math.Abs(expected.Z[j] - found.Z[j]) <= 1e-5 * (1 + Math.Abs(expected.Z[j])), $"feature {j}: {expected.Z[j]} in the original, {found.Z[j]} at run time");
                fired += found.Z[j] > 0 ? 1 : 0;
            }

            var scale = 1 + expected.Reconstruction.Max(Math.Abs);
            for (var i = 0; i < D; i++)
            {
                Assert.True(Math.Abs(expected.Reconstruction[i] - found.Reconstruction[i]) <= 1e-5 * scale, $"x̂[{i}]: {expected.Reconstruction[i]} and {found.Reconstruction[i]}");
            }
        }

        fired.Should().BeInRange(60, 60 * F * 9 / 10, "an SAE that is always on or off shows nothing");
    }
}

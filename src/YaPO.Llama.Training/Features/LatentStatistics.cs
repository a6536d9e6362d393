using YaPO.Llama.Interop;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Training.Features;

/// <summary>
/// How the latents of an SAE act on a set of residual rows. F latents.
/// </summary>
/// <param name="Rows">Rows looked at.</param>
/// <param name="Count">[F] rows in which a latent fires.</param>
/// <param name="Sum">[F] sum of its activations.</param>
/// <param name="Max">[F] its largest activation.</param>
public sealed record LatentStatistics(long Rows, long[] Count, double[] Sum, float[] Max)
{
    private const int TileLatents = 4096;
    private const int TileRows = 1024;

    /// <summary>Mean number of active latents per row.</summary>
    public double L0 => Rows == 0 ? 0 : Count.Sum() / (double)Rows;

    /// <summary>[F] share of rows in which a latent fires.</summary>
    public float[] Rate() => Array.ConvertAll(Count, c => Rows == 0 ? 0f : (float)(c / (double)Rows));

    /// <summary>Mean activation of a latent where it fires; 0 where it never does.</summary>
    public double MeanWhenActive(int latent) => Count[latent] == 0 ? 0 : Sum[latent] / Count[latent];

    /// <summary>The latents that fire somewhere, ascending.</summary>
    public int[] Active() => [.. Enumerable.Range(0, Count.Length).Where(j => Count[j] > 0)];

    /// <summary>
    /// Codes of an SAE file's latents over rows, in slices that fit in memory. <paramref name="chunks"/> yields blocks of rows [n, D] (the same blocks
    /// each time it is enumerated).
    /// </summary>
    public static LatentStatistics Measure(SaeFile sae, Func<IEnumerable<ReadOnlyMemory<float>>> chunks, int workers, CancellationToken cancellation = default)
    {
        RefuseTopK(sae);
        return Measure(sae.ReadEncoder, sae.EncBias, sae.Threshold, sae.Info.DModel, chunks, workers, cancellation);
    }

    /// <summary>Reads encoder rows of latents <paramref name="first"/> … into <paramref name="rows"/>.</summary>
    public delegate void EncoderReader(int first, Span<float> rows);

    /// <summary>The same for weights that are anywhere.</summary>
    public static LatentStatistics Measure(
        EncoderReader readEncoder, float[] encBias, float[] threshold, int modelWidth, Func<IEnumerable<ReadOnlyMemory<float>>> chunks, int workers, CancellationToken cancellation = default)
    {
        int d = modelWidth, f = encBias.Length;
        var (count, sum, max) = (new long[f], new double[f], new float[f]);
        long rows = 0;
        var codes = new float[TileRows * Math.Min(TileLatents, f)];
        for (var first = 0; first < f; first += TileLatents)
        {
            var n = Math.Min(TileLatents, f - first);
            var enc = new float[n * d];
            readEncoder(first, enc);
            rows = 0;
            foreach (var chunk in chunks())
            {
                for (var start = 0; start < chunk.Length / d; start += TileRows)
                {
                    cancellation.ThrowIfCancellationRequested();
                    var block = chunk.Slice(start * d, Math.Min(TileRows * d, chunk.Length - (start * d))).Span;
                    var blockRows = block.Length / d;
                    NativeMethods.yapo_sae_encode(d, n, enc, encBias.AsSpan(first, n), threshold.AsSpan(first, n), block, blockRows, workers, codes, out var error).Check(error, cancellation);
                    Add(codes.AsSpan(0, blockRows * n), n, count.AsSpan(first, n), sum.AsSpan(first, n), max.AsSpan(first, n));
                    rows += blockRows;
                }
            }
        }

        return new LatentStatistics(rows, count, sum, max);
    }

    /// <summary>Codes z [N, P] of rows [N, D] under P latents given by their rows.</summary>
    public static float[] Encode(ReadOnlySpan<float> enc, ReadOnlySpan<float> encBias, ReadOnlySpan<float> threshold, ReadOnlySpan<float> rows, int modelWidth, int workers)
    {
        var n = rows.Length / modelWidth;
        var z = new float[(long)n * encBias.Length];
        NativeMethods.yapo_sae_encode(modelWidth, encBias.Length, enc, encBias, threshold, rows, n, workers, z, out var error).Check(error);
        return z;
    }

    internal static void RefuseTopK(SaeFile sae)
    {
        if (sae.Info.Activation == Llama.Steering.SaeActivation.TopK)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{sae.Path} is a TopK SAE, whose latents depend on each other: yapo and sas need a ReLU or JumpReLU SAE ('sae train --activation topk --as-threshold' writes one), caa and bipo need none");
        }
    }

    /// <summary>Counts one activation z &gt; 0 of a latent.</summary>
    internal void Add(int latent, float z)
    {
        Count[latent]++;
        Sum[latent] += z;
        Max[latent] = Math.Max(Max[latent], z);
    }

    private static void Add(ReadOnlySpan<float> codes, int n, Span<long> count, Span<double> sum, Span<float> max)
    {
        for (var r = 0; r < codes.Length / n; r++)
        {
            var row = codes.Slice(r * n, n);
            for (var j = 0; j < n; j++)
            {
                if (row[j] > 0)
                {
                    count[j]++;
                    sum[j] += row[j];
                    max[j] = Math.Max(max[j], row[j]);
                }
            }
        }
    }
}

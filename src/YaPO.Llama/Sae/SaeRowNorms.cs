namespace YaPO.Llama.Sae;

/// <summary>Order statistics of the Euclidean norms of some rows.</summary>
/// <param name="Rows">How many were looked at.</param>
/// <param name="Least">The smallest.</param>
/// <param name="P10">A tenth of them are not above it.</param>
/// <param name="Median">The median.</param>
/// <param name="P90">Nine tenths of them are not above it.</param>
/// <param name="Largest">The largest.</param>
/// <param name="Zero">Rows of zeros: as decoder rows, features that write nothing.</param>
public sealed record RowNorms(int Rows, double Least, double P10, double Median, double P90, double Largest, int Zero);

/// <summary>How long an SAE's encoder and decoder rows are: a quick look at whether a conversion makes sense.</summary>
public static class SaeRowNorms
{
    /// <summary>Rows looked at by default: all of an SAE of 16k features, evenly spaced ones of a wider one.</summary>
    public const int DefaultRows = 16384;

    /// <summary>Norms of at most <paramref name="rows"/> evenly spaced rows of both matrices.</summary>
    /// <exception cref="YapoException">The file cannot be read.</exception>
    public static (RowNorms Encoder, RowNorms Decoder) Measure(SaeFile sae, int rows = DefaultRows, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(sae);
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        var (d, f) = (sae.Info.DModel, sae.Info.Width);
        var count = Math.Min(rows, f);
        var (encoder, decoder) = (new double[count], new double[count]);
        var row = new float[d];
        for (var i = 0; i < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            var feature = (int)((long)i * f / count);
            sae.ReadEncoder(feature, row);
            encoder[i] = Norm(row);
            sae.ReadDecoder(feature, row);
            decoder[i] = Norm(row);
        }

        return (Summarize(encoder), Summarize(decoder));
    }

    private static double Norm(float[] row)
    {
        var sum = 0.0;
        foreach (var x in row)
        {
            sum += (double)x * x;
        }

        return Math.Sqrt(sum);
    }

    private static RowNorms Summarize(double[] norms)
    {
        Array.Sort(norms);
        return new RowNorms(norms.Length, norms[0], At(0.1), At(0.5), At(0.9), norms[^1], norms.Count(n => n == 0));

        double At(double share) => norms[Math.Max(0, (int)Math.Ceiling(share * norms.Length) - 1)];
    }
}

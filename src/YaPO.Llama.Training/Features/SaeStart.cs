using YaPO.Llama.Sae;

namespace YaPO.Llama.Training.Features;

/// <summary>Where SAE training starts: the scale of the rows, and an encoder whose codes are as many and as large as they should be.</summary>
internal static class SaeStart
{
    /// <summary>Mean row [D] of rows [N, D], and the standard deviation of their entries around it.</summary>
    public static (float[] Mean, float Scale) Moments(ReadOnlySpan<float> rows, int d)
    {
        var n = rows.Length / d;
        if (n < 64)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{n} rows are too few to start an SAE; expected at least 64");
        }

        var sum = new double[d];
        for (var i = 0; i < n * d; i++)
        {
            sum[i % d] += rows[i];
        }

        var mean = Array.ConvertAll(sum, x => (float)(x / n));
        var squares = 0.0;
        for (var i = 0; i < n * d; i++)
        {
            var x = (double)rows[i] - mean[i % d];
            squares += x * x;
        }

        var scale = (float)Math.Sqrt(squares / n / d);
        return scale > 0 && float.IsFinite(scale)
            ? (mean, scale)
            : throw new YapoException(YapoErrorKind.Failed, $"the residuals have a standard deviation of {scale}; there is nothing to encode");
    }

    /// <summary>The threshold at which the initial encoder gives the wanted initial L0 on a sample of normalized rows.</summary>
    public static double Threshold(SaeTrainingOptions options, SaeEngineOptions engine, float[] mean, ReadOnlySpan<float> sample)
    {
        using var draft = new SaeEngine(engine with { InitialThreshold = 1 }, mean);
        var w = draft.Weights();
        var z = LatentStatistics.Encode(w.Enc.Span, w.EncBias.Span, new float[options.Latents], sample, engine.ModelWidth, engine.Workers);
        Array.Sort(z);
        var active = Math.Min(0.5, options.InitialL0Factor * options.TargetL0 / options.Latents);
        return Math.Max(1e-3, z[(int)((1 - active) * (z.Length - 1))]);
    }

    /// <summary>
    /// Scales encoder and thresholds (so that the same latents stay active) to the best reconstruction of a sample. Hundreds of random directions that
    /// answer to the same row rebuild it several times over; the first steps would silence them for good.
    /// <code>unexplained(α) = 1 − 2αb + α²a, seen at α = 1 and ½; best at b / a</code>
    /// </summary>
    public static void Scale(SaeEngine engine, ReadOnlySpan<float> sample)
    {
        var w = engine.Weights();
        var whole = 1 - engine.Evaluate(sample).ExplainedVariance;
        Set(0.5f);
        var half = 1 - engine.Evaluate(sample).ExplainedVariance;
        var b = (3 - (4 * half) + whole) / 2;
        var a = whole - 1 + (2 * b);
        Set(a > 0 && b > 0 ? (float)(b / a) : 1);

        void Set(float factor)
        {
            float[] Times(ReadOnlyMemory<float> values) => Array.ConvertAll(values.ToArray(), x => x * factor);
            engine.SetWeights(w with { Enc = Times(w.Enc), EncBias = Times(w.EncBias), Threshold = Times(w.Threshold) });
        }
    }
}

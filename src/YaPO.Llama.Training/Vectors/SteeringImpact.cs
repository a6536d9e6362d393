using YaPO.Llama.Training.Features;

namespace YaPO.Llama.Training.Vectors;

/// <summary>
/// What a vector does to residual rows at one strength. With c = max(λv, −z), Δh = Σ c_j dec_j and its flattened form Δf = λ Σ v_j dec_j:
/// </summary>
/// <param name="NormMean">Mean ‖h‖.</param>
/// <param name="DeltaMean">Mean ‖Δh‖.</param>
/// <param name="RelativeMean">Mean ‖Δh‖ / ‖h‖: the strength axis on which methods can be compared.</param>
/// <param name="ClippedRows">Share of rows in which an active latent is clipped: 0 &lt; z_j &lt; −λ v_j for some j.</param>
/// <param name="UnspentNegative">Share of the negative amount −λ v_j that finds nothing to remove, over rows and negative entries.</param>
/// <param name="FlattenGap">Σ‖Δh − Δf‖ / Σ‖Δh‖: 0 where the vector is its flattened direction exactly.</param>
public sealed record SteeringImpact(double NormMean, double DeltaMean, double RelativeMean, double ClippedRows, double UnspentNegative, double FlattenGap)
{
    /// <summary>Measures on rows [N, D].</summary>
    public static SteeringImpact Measure(LatentRows latents, float[] v, double strength, ReadOnlySpan<float> rows, int workers)
    {
        var d = latents.ModelWidth;
        var n = rows.Length / d;
        var p = latents.Index.Length;
        var z = latents.IsDense ? [] : LatentStatistics.Encode(latents.Enc, latents.EncBias, latents.Threshold, rows, d, workers);
        var flat = new double[d];
        for (var k = 0; k < v.Length; k++)
        {
            Add(flat, k, strength * v[k]);
        }

        var (norm, delta, relative, clipped, wanted, spent, gap) = (0.0, 0.0, 0.0, 0, 0.0, 0.0, 0.0);
        var difference = new double[d];
        for (var r = 0; r < n; r++)
        {
            // Δh = Δf + Σ (c_j − λ v_j) dec_j, where only entries beyond their activation differ.
            Array.Clear(difference);
            var any = false;
            for (var k = 0; k < p; k++)
            {
                var lv = strength * v[k];
                if (lv >= 0)
                {
                    continue;
                }

                double active = z[(r * p) + k];
                wanted += -lv;
                spent += Math.Min(-lv, active);
                if (active < -lv)
                {
                    any |= active > 0;
                    Add(difference, k, -active - lv);
                }
            }

            clipped += any ? 1 : 0;
            var (h2, d2, g2) = (0.0, 0.0, 0.0);
            for (var i = 0; i < d; i++)
            {
                double h = rows[(r * d) + i];
                var change = flat[i] + difference[i];
                h2 += h * h;
                d2 += change * change;
                g2 += difference[i] * difference[i];
            }

            norm += Math.Sqrt(h2);
            delta += Math.Sqrt(d2);
            relative += Math.Sqrt(d2 / Math.Max(h2, double.Epsilon));
            gap += Math.Sqrt(g2);
        }

        return new SteeringImpact(norm / n, delta / n, relative / n, clipped / (double)n, wanted > 0 ? 1 - (spent / wanted) : 0, delta > 0 ? gap / delta : 0);

        void Add(double[] target, int k, double amount)
        {
            if (latents.IsDense)
            {
                target[k] += amount;
                return;
            }

            for (var i = 0; i < d; i++)
            {
                target[i] += amount * latents.Dec[(k * d) + i];
            }
        }
    }
}

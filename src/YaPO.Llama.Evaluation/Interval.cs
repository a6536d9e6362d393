namespace YaPO.Llama.Evaluation;

/// <summary>A share with a 95 % interval by bootstrap over topics: questions of one topic are no independent evidence.</summary>
/// <param name="Value">Share, 0 to 1.</param>
/// <param name="Low">2.5 % quantile.</param>
/// <param name="High">97.5 % quantile.</param>
/// <param name="Count">Questions.</param>
public sealed record Interval(double Value, double Low, double High, int Count)
{
    /// <summary>Standard error, from the width of the interval.</summary>
    internal double StandardError => (High - Low) / (2 * 1.96);

    /// <summary>The mean of <paramref name="outcomes"/>, resampling whole topics. The same numbers give the same interval.</summary>
    public static Interval Of(IReadOnlyList<string> topics, IReadOnlyList<double> outcomes, int resamples = 1000)
    {
        if (topics.Count != outcomes.Count || topics.Count == 0)
        {
            throw new ArgumentException($"{topics.Count} topics for {outcomes.Count} outcomes");
        }

        var groups = topics.Zip(outcomes).GroupBy(x => x.First, x => x.Second).Select(g => (Sum: g.Sum(), Count: g.Count())).ToArray();
        var means = new double[resamples];
        var state = 0x9E3779B97F4A7C15UL;
        for (var r = 0; r < resamples; r++)
        {
            double sum = 0;
            var count = 0;
            for (var i = 0; i < groups.Length; i++)
            {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                var pick = groups[(int)(state % (ulong)groups.Length)];
                sum += pick.Sum;
                count += pick.Count;
            }

            means[r] = sum / count;
        }

        Array.Sort(means);
        return new Interval(outcomes.Average(), means[(int)(0.025 * resamples)], means[(int)(0.975 * resamples)], outcomes.Count);
    }
}

namespace YaPO.Llama.Cli.Benchmarks;

/// <summary>Median and quartiles.</summary>
internal sealed record Spread(double Median, double Lower, double Upper)
{
    public static Spread Of(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        double At(double share)
        {
            var place = share * (sorted.Length - 1);
            var (low, high) = ((int)Math.Floor(place), (int)Math.Ceiling(place));
            return sorted[low] + ((place - low) * (sorted[high] - sorted[low]));
        }

        return new Spread(At(0.5), At(0.25), At(0.75));
    }
}

/// <summary>Times of arms that ran in turn: what drifts on the machine hits all arms of a round alike, so ratios are taken within rounds.</summary>
internal sealed class PairedTimes(List<string> arms)
{
    private readonly List<double[]> rounds = [];

    public int Rounds => rounds.Count;

    /// <summary>Adds the seconds of each arm in one round.</summary>
    public void Add(double[] seconds) => rounds.Add(seconds);

    /// <summary>Units per second of an arm.</summary>
    public Spread Rate(string arm, double units) => Spread.Of(rounds.Select(r => units / r[Index(arm)]));

    /// <summary>How fast an arm is relative to another: 1 is as fast, 0.5 takes twice the time.</summary>
    public Spread Speed(string arm, string reference) => Spread.Of(rounds.Select(r => r[Index(reference)] / r[Index(arm)]));

    private int Index(string arm) => arms.IndexOf(arm);
}

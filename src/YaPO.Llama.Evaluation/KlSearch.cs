using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation;

/// <summary>KL(π_0 ‖ π_λ) on neutral text as a function of an arm's strength, remembered, and its inverse.</summary>
internal sealed class KlSearch(SteeredScorer scorer, IReadOnlyList<ReadText> neutral)
{
    // Nearest is enough: a budget is a point on a curve, and one reading of the text costs as much as a pass of items.
    private const double Tolerance = 0.03;
    private const int MostReadings = 16;

    private readonly Dictionary<(Arm, double), double> _known = [];

    /// <summary>Nats per token at a strength.</summary>
    public double At(Arm arm, double strength, CancellationToken cancellation)
    {
        if (!_known.TryGetValue((arm, strength), out var kl))
        {
            _known[(arm, strength)] = kl = TextMeter.KlPerToken(scorer.Read(neutral, arm.At(strength), cancellation));
        }

        return kl;
    }

    /// <summary>
    /// The strength with the sign of <paramref name="start"/> whose KL is the budget, to 3 %. KL grows like a power of λ, so inside a bracket a straight line through its ends in log λ and log KL comes close at once; outside, λ
    /// is moved as if KL ∝ λ². Null where the arm cannot spend the budget, or nothing it does shows on this text.
    /// </summary>
    public (double Strength, double Kl)? StrengthFor(Arm arm, double budget, double start, CancellationToken cancellation)
    {
        var sign = start < 0 ? -1 : 1;
        var strength = Math.Abs(start) > 0 ? Math.Abs(start) : 1;
        (double Strength, double Kl)? low = null, high = null;
        for (var i = 0; i < MostReadings; i++)
        {
            var kl = At(arm, sign * strength, cancellation);
            if (double.IsFinite(kl) && Math.Abs(kl - budget) <= Tolerance * budget)
            {
                return (sign * strength, kl);
            }

            if (kl < budget)
            {
                low = (strength, kl);
            }
            else
            {
                high = (strength, kl);
            }

            strength = (low, high) switch
            {
                ({ } l, { } h) => Between(l, h, budget),
                ({ Kl: > 0 } l, null) => l.Strength * Math.Clamp(Math.Sqrt(budget / l.Kl), 1.1, 10),
                (_, { } h) when double.IsFinite(h.Kl) => h.Strength * Math.Clamp(Math.Sqrt(budget / h.Kl), 0.1, 0.9),
                _ => strength * (high is null ? 10 : 0.1),
            };
        }

        return null;
    }

    private static double Between((double Strength, double Kl) low, (double Strength, double Kl) high, double budget)
    {
        // A model driven out of its numbers, or one that does not notice yet, has no line to follow.
        var part = double.IsFinite(high.Kl) && low.Kl > 0 ? Math.Clamp(Math.Log(budget / low.Kl) / Math.Log(high.Kl / low.Kl), 0.05, 0.95) : 0.5;
        return low.Strength * Math.Pow(high.Strength / low.Strength, part);
    }
}

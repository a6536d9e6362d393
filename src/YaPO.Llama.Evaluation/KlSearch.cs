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
    /// The strength whose KL is the budget, to 3 %: bisection in log λ, started where KL ∝ λ² puts it. Null where the arm cannot spend it, or nothing it does shows on this text.
    /// </summary>
    public (double Strength, double Kl)? StrengthFor(Arm arm, double budget, double start, CancellationToken cancellation)
    {
        var strength = Math.Abs(start) > 0 ? Math.Abs(start) : 1;
        double? low = null, high = null;
        for (var i = 0; i < MostReadings; i++)
        {
            var kl = At(arm, strength, cancellation);
            if (!double.IsFinite(kl) || kl > budget * (1 + Tolerance))
            {
                high = strength;
            }
            else if (kl < budget * (1 - Tolerance))
            {
                low = strength;
            }
            else
            {
                return (strength, kl);
            }

            var guess = double.IsFinite(kl) && kl > 0 ? strength * Math.Clamp(Math.Sqrt(budget / kl), 0.1, 10) : strength * (high is null ? 10 : 0.1);
            strength = low is { } l && high is { } h ? (guess > l * 1.01 && guess < h * 0.99 ? guess : Math.Sqrt(l * h)) : guess;
        }

        return null;
    }
}

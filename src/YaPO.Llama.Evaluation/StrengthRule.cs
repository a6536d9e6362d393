using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation;

/// <summary>One rule for the strength of every arm, every method and every candidate.</summary>
public static class StrengthRule
{
    /// <summary>Knowledge that a chosen strength may cost on validation, as a share of the questions.</summary>
    public const double KnowledgeBudget = 0.01;

    // 1 of 100 questions is one point, whatever a double makes of it.
    private const double Rounding = 1e-9;

    /// <summary>Whether knowledge is kept.</summary>
    /// <param name="unsteered">Share of the validation questions that the unsteered model answers rightly.</param>
    /// <param name="steered">The same at a strength.</param>
    public static bool KeepsKnowledge(double unsteered, double steered) => steered >= unsteered - KnowledgeBudget - Rounding;

    /// <summary>
    /// The smallest strength that is not measurably worse than the best: mean(best − this) ≤ one standard error of that difference, item by item over the same
    /// items, topics resampled together. Questions differ among themselves far more than two strengths do on one question; the error of a mean would hide a
    /// real gain. More strength that gains nothing measurable only costs. Among the allowed ones; where none is, the smallest.
    /// </summary>
    /// <param name="outcomes">Of the same items, in ascending order of strength.</param>
    /// <param name="allowed">Whether each keeps to the budgets.</param>
    /// <param name="lowerIsBetter">For losses.</param>
    /// <returns>Index into <paramref name="outcomes"/>.</returns>
    public static int Choose(IReadOnlyList<IReadOnlyList<ItemOutcome>> outcomes, IReadOnlyList<bool> allowed, bool lowerIsBetter = false) => Choose(outcomes, i => allowed[i], lowerIsBetter).Index;

    /// <summary>
    /// The same choice where asking costs: <paramref name="allowed"/> is asked about the best and about the one that would be chosen, and again only after one of them was not allowed. What
    /// it would say about the others cannot change the choice.
    /// </summary>
    /// <returns>The index, and whether it is allowed.</returns>
    public static (int Index, bool Allowed) Choose(IReadOnlyList<IReadOnlyList<ItemOutcome>> outcomes, Func<int, bool> allowed, bool lowerIsBetter = false)
    {
        ArgumentNullException.ThrowIfNull(allowed);
        var sign = lowerIsBetter ? -1 : 1;
        var values = outcomes.Select(o => sign * Interval.Of(o).Value).ToList();
        var candidates = Enumerable.Range(0, values.Count).ToList();
        while (candidates.Count > 0)
        {
            var best = candidates.MaxBy(i => values[i]);
            var chosen = candidates.First(i => i == best || AsGood(outcomes[best], outcomes[i], sign));
            if (!allowed(best))
            {
                candidates.Remove(best);
            }
            else if (!allowed(chosen))
            {
                candidates.Remove(chosen);
            }
            else
            {
                return (chosen, true);
            }
        }

        return (0, false);
    }

    private static bool AsGood(IReadOnlyList<ItemOutcome> best, IReadOnlyList<ItemOutcome> other, int sign)
    {
        var lost = Interval.Difference(best, other);
        return sign * lost.Value <= lost.StandardError;
    }
}

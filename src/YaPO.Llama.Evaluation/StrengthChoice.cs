using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation;

/// <summary>The strength of an arm, chosen on validation by <see cref="StrengthRule"/>, within the budgets of KL and of knowledge where there are some.</summary>
/// <param name="measure">Runs a suite.</param>
/// <param name="validation">What chooses.</param>
/// <param name="knowledge">What must be kept; null: not asked.</param>
/// <param name="strengths">To choose among.</param>
/// <param name="kl">KL on neutral text; null: not asked.</param>
/// <param name="klBudget">Most nats per token.</param>
internal sealed class StrengthChoice(
    Func<ISuite, Steering, string, IReadOnlyList<ItemOutcome>> measure, ISuite validation, ISuite? knowledge, IReadOnlyList<double> strengths, Func<Arm, double, double>? kl, double? klBudget)
{
    private double? _unsteered;

    /// <summary>An arm's strength.</summary>
    /// <param name="arm">What is steered with.</param>
    /// <param name="everything">Measure the budgets at every strength, for the report, and not only where the choice depends on them.</param>
    public (double Strength, bool KeepsBudgets, IReadOnlyList<TriedStrength> Tried) For(Arm arm, bool everything)
    {
        var grid = strengths.OrderBy(Math.Abs).ToList();
        var outcomes = grid.Select(s => Primary(validation, measure(validation, arm.At(s), arm.Name))).ToList();
        var tried = grid.Select((s, i) => new TriedStrength(s, Interval.Of(outcomes[i]).Value)).ToList();
        bool Allowed(int i)
        {
            if (kl is not null && klBudget is not null && tried[i].KlPerToken is null)
            {
                tried[i] = tried[i] with { KlPerToken = kl(arm, grid[i]) };
            }

            var within = tried[i].KlPerToken is not { } spent || spent <= klBudget;
            if (knowledge is not null && tried[i].Knowledge is null && (within || everything))
            {
                tried[i] = tried[i] with { Knowledge = Share(knowledge, arm.At(grid[i]), arm.Name) };
            }

            return within && (tried[i].Knowledge is not { } kept || StrengthRule.KeepsKnowledge(_unsteered ??= Share(knowledge!, Steering.None, "unsteered"), kept));
        }

        if (everything)
        {
            _ = Enumerable.Range(0, grid.Count).Select(Allowed).ToList();
        }

        var (index, keeps) = StrengthRule.Choose(outcomes, Allowed, validation.LowerIsBetter);
        return (grid[index], keeps, tried);
    }

    private double Share(ISuite suite, Steering steering, string name) => Interval.Of(Primary(suite, measure(suite, steering, name))).Value;

    private static List<ItemOutcome> Primary(ISuite suite, IReadOnlyList<ItemOutcome> outcomes) => [.. outcomes.Where(o => o.Group == suite.PrimaryGroup)];
}

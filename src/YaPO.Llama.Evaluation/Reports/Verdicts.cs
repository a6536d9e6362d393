using System.Globalization;
using YaPO.Llama.Evaluation.Controls;

namespace YaPO.Llama.Evaluation.Reports;

/// <summary>Says in one sentence what a report shows, losses as plainly as wins.</summary>
public static class Verdicts
{
    /// <summary>The sentence about one vector.</summary>
    public static string Of(VectorReport report, string measure, bool isShare, bool lowerIsBetter)
    {
        string Show(double value) => isShare ? (100 * value).ToString("0.0", CultureInfo.InvariantCulture) + " %" : value.ToString("0.###", CultureInfo.InvariantCulture);
        var unsteered = report.Rows.Single(r => r.Kind == "unsteered");
        var vector = report.Rows.Single(r => r.Kind == "vector");
        var moved = !double.IsFinite(vector.Value.Value) ? "drives the model out of its numbers, beyond any figure of" : vector.Gain!.Low > 0 ? "raises" : vector.Gain.High < 0 ? "lowers" : "does not measurably change";
        var (from, to) = (Show(unsteered.Value.Value), Show(vector.Value.Value));
        var parts = new List<string>
        {
            Against(report.Rows.FirstOrDefault(r => r.Kind == "prompt_only"), "the prompt", Show) ?? "no prompt was given to compare with",
        };
        foreach (var (kind, name) in new[] { (ArmKind.Flattened, "its flattened direction"), (ArmKind.SignFlip, "its sign-flipped self"), (ArmKind.RandomDictionary, "training in a random dictionary"), (ArmKind.RandomSupport, "training on a random support"), (ArmKind.ShuffledLabels, "training on shuffled labels") })
        {
            if (Against(report.Rows.FirstOrDefault(r => r.Kind == KindName(kind)), name, Show) is { } part)
            {
                parts.Add(part);
            }
        }

        foreach (var random in report.Random)
        {
            var beaten = random.Beaten(lowerIsBetter);
            parts.Add(string.Create(
                CultureInfo.InvariantCulture,
                $"it beats {(beaten == random.Count ? "all" : beaten.ToString(CultureInfo.InvariantCulture) + " of")} {random.Count} {(random.Kind == "random_latents" ? "sets of random latents" : "random directions")} (p = {random.PValue:0.###})"));
        }

        return $"{(RefusalRates.Warning(report) is { } warning ? warning + " " : "")}{report.Vector} {moved} the {measure} ({from} → {to}); {string.Join("; ", parts)}.";
    }

    /// <summary>The name of an arm's kind in a report.</summary>
    public static string KindName(ArmKind kind) => System.Text.Json.JsonNamingPolicy.SnakeCaseLower.ConvertName(kind.ToString());

    private static string? Against(ReportRow? row, string name, Func<double, string> show) => row?.VectorAdvantage is not { } advantage ? null
        : advantage.Low > 0 ? $"it beats {name} ({show(row.Value.Value)})"
        : advantage.High < 0 ? $"it loses to {name} ({show(row.Value.Value)})"
        : $"it does not beat {name} ({show(row.Value.Value)})";
}

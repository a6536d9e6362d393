using System.Globalization;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation.Methods;

/// <summary>A trained and measured vector of a method.</summary>
/// <param name="Seed">Its seed.</param>
/// <param name="Curve">Its losses.</param>
/// <param name="Outcome">What it does.</param>
public sealed record MeasuredRun(ulong Seed, IReadOnlyList<LossPoint> Curve, MethodOutcome Outcome);

/// <summary>All runs of a method.</summary>
/// <param name="Name">yapo, bipo, caa or sas.</param>
/// <param name="LearningRate">Of all runs; null without one.</param>
/// <param name="Rates">What it was chosen among.</param>
/// <param name="Runs">At least one.</param>
public sealed record MeasuredMethod(string Name, double? LearningRate, IReadOnlyList<RateTried> Rates, IReadOnlyList<MeasuredRun> Runs);

/// <summary>Puts the runs of all methods together.</summary>
public static class MethodsSummary
{
    /// <summary>The report.</summary>
    /// <param name="test">The test suite, for its words and its deciding group.</param>
    /// <param name="layer">Steered block.</param>
    /// <param name="unsteered">The model as it is.</param>
    /// <param name="prompted">The prompt alone; null where none was given.</param>
    /// <param name="methods">In the order of the tables.</param>
    /// <param name="notes">What is missing.</param>
    public static MethodsReport Of(ISuite test, int layer, MethodOutcome unsteered, MethodOutcome? prompted, IReadOnlyList<MeasuredMethod> methods, IReadOnlyList<string> notes)
    {
        List<ItemOutcome> Primary(IReadOnlyList<ItemOutcome> outcomes) => [.. outcomes.Where(o => o.Group == test.PrimaryGroup)];
        var plain = Primary(unsteered.Test);
        var yapo = methods.FirstOrDefault(m => m.Name == "yapo") is { } y ? Primary(Mean([.. y.Runs.Select(r => r.Outcome.Test)])) : null;
        MethodRow Row(string name, IReadOnlyList<MethodOutcome> runs)
        {
            var all = Mean([.. runs.Select(r => r.Test)]);
            var own = Primary(all);
            var values = runs.Select(r => Interval.Of(Primary(r.Test)).Value).ToList();
            return new MethodRow(
                name, Interval.Of(own), name == "unsteered" ? null : Interval.Difference(own, plain), name == "yapo" || yapo is null ? null : Interval.Difference(yapo, own),
                runs[0].Knowledge is null ? null : Interval.Of(Mean([.. runs.Select(r => r.Knowledge!)])), Localizations.Of(all), values.Count > 1 ? values.Min() : null, values.Count > 1 ? values.Max() : null);
        }

        IEnumerable<string> Tied(string name, IReadOnlyList<MethodOutcome> runs) =>
            runs.Select(r => Primary(r.Test)).Select(o => Ties.Note(name, Ties.Count(o), o.Count)).OfType<string>().Distinct();
        var rows = new List<MethodRow> { Row("unsteered", [unsteered]) };
        if (prompted is not null)
        {
            rows.Add(Row("prompt only", [prompted]));
        }

        rows.AddRange(methods.Select(m => Row(m.Name, [.. m.Runs.Select(r => r.Outcome)])));
        var best = methods.MaxBy(m => rows.Single(r => r.Name == m.Name).Value.Value)!;
        var overPrompt = prompted is null ? null : Interval.OfBest(Primary(Mean([.. best.Runs.Select(r => r.Outcome.Test)])), Primary(prompted.Test), methods.Count);
        var losses = methods.SelectMany(m => m.Runs).SelectMany(r => r.Curve).Select(p => p.Loss).ToList();
        double? target = losses.Count == 0 ? null : (Math.Log(2) + losses.Min()) / 2;
        var labels = unsteered.Shares.Keys.ToList();
        LabelMatrixRow Shares(string name, IReadOnlyList<MethodOutcome> runs) => new(name, [.. labels.Select(l => runs.Average(r => r.Shares[l]))]);
        return new MethodsReport
        {
            Verdict = Verdict(rows, overPrompt, test.IsShare),
            Measure = test.Measure,
            IsShare = test.IsShare,
            Items = plain.Count,
            Topics = test.Topics,
            Layer = layer,
            TargetLoss = target,
            Rows = rows,
            Methods = [.. methods.Select(m => Details(m, target, unsteered, o => Interval.Of(Primary(o.Test)).Value))],
            Matrix = labels.Count == 0 ? null : new LabelMatrix(labels, [Shares("unsteered", [unsteered]), .. prompted is null ? [] : new[] { Shares("prompt only", [prompted]) }, .. methods.Select(m => Shares(m.Name, [.. m.Runs.Select(r => r.Outcome)]))]),
            Notes = [.. notes, .. Interval.Doubt(test.Topics) is { } doubt ? [doubt] : Array.Empty<string>(), .. methods.Where(m => m.Runs.Any(r => r.Outcome.Sensitivity is [{ RelativeShift: < MethodTrial.LeastShift }]))
                    .Select(m => string.Create(CultureInfo.InvariantCulture, $"{m.Name} moves the stream by less than {100 * MethodTrial.LeastShift:0} % of its norm at any strength (it only removes what is hardly active); measured at strength 1")),
                .. methods.Where(m => m.Runs.Any(r => !r.Outcome.KeepsBudgets)).Select(m => $"{m.Name}: no strength that was tried keeps to the budgets; the smallest was taken"),
                .. Tied("unsteered", [unsteered]), .. prompted is null ? [] : Tied("prompt only", [prompted]), .. methods.SelectMany(m => Tied(m.Name, [.. m.Runs.Select(r => r.Outcome)])),
                .. methods.Where(m => RateSearch.AtTheEdge(m.Rates)).Select(m => string.Create(CultureInfo.InvariantCulture, $"{m.Name} did best at rate {m.LearningRate:0.######}, the edge of the {m.Rates.Count} tried; try further ones with --rates before comparing"))],
        };
    }

    /// <summary>Item by item, the mean over runs.</summary>
    internal static List<ItemOutcome> Mean(IReadOnlyList<IReadOnlyList<ItemOutcome>> runs) =>
        [.. runs[0].Select((first, i) => first with { Value = runs.Average(r => r[i].Value), Detail = null })];

    private static MethodDetails Details(MeasuredMethod method, double? target, MethodOutcome unsteered, Func<MethodOutcome, double> value)
    {
        var most = method.Runs.Min(r => r.Outcome.Sensitivity.Count);
        var points = Enumerable.Range(0, most).Select(i =>
        {
            var at = method.Runs.Select(r => r.Outcome.Sensitivity[i]).ToList();
            return new SensitivityPoint(at.Average(p => p.RelativeShift), at.Average(p => p.Strength), at.Average(p => p.Value), at[0].Knowledge is null ? null : at.Average(p => p.Knowledge!.Value));
        }).ToList();
        var (from, to) = Safe([.. points.Select(p => p.Value)], unsteered.Sensitivity[0].Value);
        return new MethodDetails(
            method.Name, method.LearningRate, method.Rates,
            [
                .. method.Runs.Select(r => new MethodRun(
                    r.Seed, r.Curve, target is { } t && r.Curve.FirstOrDefault(p => p.Loss <= t) is { } reached ? reached.Step : null, r.Curve.Count == 0 ? null : r.Curve.Min(p => p.Loss),
                    r.Outcome.Strength, r.Outcome.RelativeShift, r.Outcome.Kl, value(r.Outcome))),
            ],
            points, new SafeRange(points[from].Strength, points[to].Strength), new SafeRange(points[from].RelativeShift, points[to].RelativeShift));
    }

    /// <summary>The points around the best that keep half of its gain.</summary>
    internal static (int From, int To) Safe(double[] values, double unsteered)
    {
        var best = Array.IndexOf(values, values.Max());
        var half = (unsteered + values[best]) / 2;
        var (from, to) = (best, best);
        while (from > 0 && values[from - 1] >= half)
        {
            from--;
        }

        while (to + 1 < values.Length && values[to + 1] >= half)
        {
            to++;
        }

        return (from, to);
    }

    /// <summary>The names that share the highest value: order in a table decides nothing.</summary>
    internal static List<string> Best(IReadOnlyList<MethodRow> methods)
    {
        var most = methods.Max(m => m.Value.Value);
        return [.. methods.Where(m => m.Value.Value >= most - 1e-12).Select(m => m.Name)];
    }

    internal static string Verdict(List<MethodRow> rows, Interval? overPrompt, bool isShare)
    {
        string Show(double value) => isShare ? (100 * value).ToString("0.0", CultureInfo.InvariantCulture) + " %" : value.ToString("0.###", CultureInfo.InvariantCulture);
        var ranked = rows.Where(r => r.Name is not ("unsteered" or "prompt only")).OrderByDescending(r => r.Value.Value).ToList();
        var prompt = rows.FirstOrDefault(r => r.Name == "prompt only");
        var against = prompt is null || overPrompt is null ? "How prompting compares was not measured"
            : overPrompt.High < 0 ? $"Prompting ({Show(prompt.Value.Value)}) wins over every method"
            : overPrompt.Low > 0 ? $"{string.Join(" and ", Best(ranked))} {(Best(ranked).Count == 1 ? "wins" : "win")} over prompting ({Show(prompt.Value.Value)})"
            : $"Prompting ({Show(prompt.Value.Value)}) does as well as the best method";
        var others = rows.Where(r => r.YapoAdvantage is not null && r.Name is not ("unsteered" or "prompt only")).Select(r =>
            r.YapoAdvantage!.Low > 0 ? $"yapo beats {r.Name}" : r.YapoAdvantage.High < 0 ? $"{r.Name} beats yapo" : $"yapo and {r.Name} are not told apart");
        return $"{against}. In order: {string.Join(", ", ranked.Select(r => $"{r.Name} {Show(r.Value.Value)}"))} (unsteered {Show(rows[0].Value.Value)}){string.Concat(others.Select(o => $"; {o}"))}.";
    }
}

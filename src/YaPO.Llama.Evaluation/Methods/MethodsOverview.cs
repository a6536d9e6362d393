using System.Globalization;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation.Methods;

/// <summary>All methods on one data set.</summary>
/// <param name="Name">The data set: a culture, say.</param>
/// <param name="Test">Its test suite.</param>
/// <param name="Unsteered">The model as it is.</param>
/// <param name="Prompted">The prompt alone; null where none was given.</param>
/// <param name="Methods">The same ones, in the same order, for every set.</param>
/// <param name="Notes">What is missing.</param>
public sealed record MeasuredSet(string Name, ISuite Test, MethodOutcome Unsteered, MethodOutcome? Prompted, IReadOnlyList<MeasuredMethod> Methods, IReadOnlyList<string> Notes);

/// <summary>Training methods side by side on several data sets (cultures), and on average over them, each set counting the same.</summary>
public sealed record MethodsOverview
{
    /// <summary>Whether prompting or a method wins on average, and the best method of each set.</summary>
    public required string Verdict { get; init; }

    /// <summary>What the values are.</summary>
    public required string Measure { get; init; }

    /// <summary>Whether they are shares of 1.</summary>
    public required bool IsShare { get; init; }

    /// <summary>Steered block.</summary>
    public required int Layer { get; init; }

    /// <summary>The data sets: columns.</summary>
    public required IReadOnlyList<string> Sets { get; init; }

    /// <summary>Unsteered, prompt, and each method.</summary>
    public required IReadOnlyList<OverviewRow> Rows { get; init; }

    /// <summary>Strength sensitivity of each method, mean over sets and seeds.</summary>
    public required IReadOnlyList<MethodStrength> Strength { get; init; }

    /// <summary>How fast and how far each optimized method trains, over all sets and seeds.</summary>
    public required IReadOnlyList<MethodConvergence> Convergence { get; init; }

    /// <summary>The whole report of each set, in the order of <see cref="Sets"/>.</summary>
    public required IReadOnlyList<MethodsReport> Reports { get; init; }

    /// <summary>What is missing, and why.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>As JSON.</summary>
    public string ToJson() => MethodsJson.Write(this);

    /// <summary>Puts the sets together. Topics of one name are resampled together, whatever set they are in.</summary>
    /// <param name="sets">At least one, with the same methods.</param>
    /// <param name="layer">Steered block.</param>
    public static MethodsOverview Of(IReadOnlyList<MeasuredSet> sets, int layer)
    {
        ArgumentNullException.ThrowIfNull(sets);
        var reports = sets.Select(s => MethodsSummary.Of(s.Test, layer, s.Unsteered, s.Prompted, s.Methods, s.Notes)).ToList();
        var names = reports[0].Rows.Select(r => r.Name).ToList();
        var outcomes = names.ToDictionary(name => name, name => sets.Select(s => Outcomes(s, name)).ToList());
        var unsteered = Pool(outcomes["unsteered"], sets, s => s.Test.PrimaryGroup)!;
        var yapo = outcomes.TryGetValue("yapo", out var own) ? Pool(own, sets, s => s.Test.PrimaryGroup) : null;
        var rows = names.Select(name =>
        {
            var at = reports.Select(r => r.Rows.Single(row => row.Name == name)).ToList();
            var pooled = Pool(outcomes[name], sets, s => s.Test.PrimaryGroup)!;
            var localized = Pool(outcomes[name], sets, _ => ChoiceItem.Named);
            var open = Pool(outcomes[name], sets, _ => ChoiceItem.Open);
            return new OverviewRow(
                name, [.. at.Select(r => r.Value)], Interval.Of(pooled), name == "unsteered" ? null : Interval.Difference(pooled, unsteered),
                name == "yapo" || yapo is null ? null : Interval.Difference(yapo, pooled),
                localized is null || open is null ? null : new MeanLocalization(Interval.Of(localized), Interval.Of(open), at.Average(r => r.Localization!.Gap), Mean(at.Select(r => r.Localization!.Rca))),
                Mean(at.Select(r => r.Knowledge?.Value)));
        }).ToList();
        var optimized = sets[0].Methods.Where(m => m.LearningRate is not null).Select(m => m.Name).ToList();
        return new MethodsOverview
        {
            Verdict = Say(sets, reports, rows, outcomes),
            Measure = reports.Select(r => r.Measure).Distinct().Count() == 1 ? reports[0].Measure : "share of questions answered as each data set wants it",
            IsShare = reports.TrueForAll(r => r.IsShare),
            Layer = layer,
            Sets = [.. sets.Select(s => s.Name)],
            Rows = rows,
            Strength = [.. sets[0].Methods.Select(m => StrengthOf(m.Name, sets))],
            Convergence = [.. optimized.Select(name => ConvergenceOf(name, reports))],
            Reports = reports,
            Notes = [.. reports[0].Notes.Where(n => reports.TrueForAll(r => r.Notes.Contains(n))), .. sets.SelectMany((s, i) => reports[i].Notes.Where(n => !reports.TrueForAll(r => r.Notes.Contains(n))).Select(n => $"{s.Name}: {n}"))],
        };
    }

    private static IReadOnlyList<ItemOutcome> Outcomes(MeasuredSet set, string row) => row switch
    {
        "unsteered" => set.Unsteered.Test,
        "prompt only" => set.Prompted!.Test,
        _ => MethodsSummary.Mean([.. set.Methods.Single(m => m.Name == row).Runs.Select(r => r.Outcome.Test)]),
    };

    /// <summary>Items of a group of every set, weighted so that each set counts the same; null where a set has none.</summary>
    private static List<ItemOutcome>? Pool(List<IReadOnlyList<ItemOutcome>> outcomes, IReadOnlyList<MeasuredSet> sets, Func<MeasuredSet, string> group)
    {
        var parts = sets.Zip(outcomes, (set, all) => (Set: set, Items: all.Where(o => o.Group == group(set)).ToList())).ToList();
        return parts.Exists(p => p.Items.Count == 0) ? null
            : [.. parts.SelectMany(p => p.Items.Select(o => o with { Id = $"{p.Set.Name}/{o.Id}", Weight = 1.0 / p.Items.Count, Text = null }))];
    }

    private static MethodStrength StrengthOf(string name, IReadOnlyList<MeasuredSet> sets)
    {
        // A vector that cannot move the stream has one strength and says nothing about more of them; its set counts only where no set says more.
        var telling = sets.Where(s => s.Methods.Single(m => m.Name == name).Runs.All(r => r.Outcome.Sensitivity.Count > 1)).ToList();
        sets = telling.Count > 0 ? telling : sets;
        var runs = sets.Select(s => s.Methods.Single(m => m.Name == name).Runs.Select(r => r.Outcome.Sensitivity).ToList()).ToList();
        var most = runs.SelectMany(r => r).Min(s => s.Count);
        double Over(Func<IReadOnlyList<SensitivityPoint>, double> value) => runs.Average(set => set.Average(value));
        var points = Enumerable.Range(0, most).Select(i => new SensitivityPoint(
            Over(s => s[i].RelativeShift), Over(s => s[i].Strength), Over(s => s[i].Value), runs[0][0][i].Knowledge is null ? null : Over(s => s[i].Knowledge!.Value))).ToList();
        var (from, to) = MethodsSummary.Safe([.. points.Select(p => p.Value)], sets.Average(s => s.Unsteered.Sensitivity[0].Value));
        return new MethodStrength(name, points, new SafeRange(points[from].Strength, points[to].Strength), new SafeRange(points[from].RelativeShift, points[to].RelativeShift));
    }

    private static MethodConvergence ConvergenceOf(string name, List<MethodsReport> reports)
    {
        var sets = reports.Select(r => r.Methods.Single(m => m.Method == name)).ToList();
        var runs = sets.SelectMany(m => m.Runs).ToList();
        var reached = runs.Where(r => r.StepsToTarget is not null).ToList();
        return new MethodConvergence(
            name, [.. sets.Select(m => m.LearningRate!.Value)], runs.Count, reached.Count, reached.Count == 0 ? null : reached.Average(r => (double)r.StepsToTarget!.Value),
            runs.Average(r => r.Plateau!.Value), sets.Average(m => m.Runs.Max(r => r.Plateau!.Value) - m.Runs.Min(r => r.Plateau!.Value)));
    }

    private static string Say(IReadOnlyList<MeasuredSet> sets, List<MethodsReport> reports, List<OverviewRow> rows, Dictionary<string, List<IReadOnlyList<ItemOutcome>>> outcomes)
    {
        var mean = rows.Select(r => new MethodRow(r.Name, r.Mean, r.Gain, r.YapoAdvantage, null, null, null, null)).ToList();
        var best = mean.Where(r => r.Name is not ("unsteered" or "prompt only")).MaxBy(r => r.Value.Value)!;
        var overPrompt = !outcomes.TryGetValue("prompt only", out var prompted) ? null
            : Interval.OfBest(Pool(outcomes[best.Name], sets, s => s.Test.PrimaryGroup)!, Pool(prompted, sets, s => s.Test.PrimaryGroup)!, sets[0].Methods.Count);
        var share = reports.TrueForAll(r => r.IsShare);
        var each = sets.Select((set, i) =>
        {
            var methods = reports[i].Rows.Where(r => r.Name is not ("unsteered" or "prompt only")).ToList();
            var most = methods.Max(r => r.Value.Value);
            return $"{set.Name} {string.Join(" and ", MethodsSummary.Best(methods))} {(share ? string.Create(CultureInfo.InvariantCulture, $"{100 * most:0.0} %") : string.Create(CultureInfo.InvariantCulture, $"{most:0.###}"))}";
        });
        return $"On average over {sets.Count} data sets: {MethodsSummary.Verdict(mean, overPrompt, share)} The best method of each: {string.Join(", ", each)}.";
    }

    private static double? Mean(IEnumerable<double?> values) => values.ToList() is var all && all.TrueForAll(v => v is not null) ? all.Average() : null;
}

/// <summary>One line over all data sets.</summary>
/// <param name="Name">unsteered, prompt only, or the method.</param>
/// <param name="Values">On each set's test data, mean over seeds.</param>
/// <param name="Mean">Mean over sets.</param>
/// <param name="Gain">Paired difference to unsteered.</param>
/// <param name="YapoAdvantage">Paired difference yapo − this; null for yapo itself, or without it.</param>
/// <param name="Localization">Null where a set has no questions that name the culture.</param>
/// <param name="Knowledge">Mean over sets; null where not measured.</param>
public sealed record OverviewRow(string Name, IReadOnlyList<Interval> Values, Interval Mean, Interval? Gain, Interval? YapoAdvantage, MeanLocalization? Localization, double? Knowledge);

/// <summary>Localized and non-localized scores, mean over data sets.</summary>
/// <param name="Localized">Where the question names the culture.</param>
/// <param name="NonLocalized">Where it does not.</param>
/// <param name="Gap">Mean of localized − non-localized.</param>
/// <param name="Rca">Mean of the robust cultural accuracies.</param>
public sealed record MeanLocalization(Interval Localized, Interval NonLocalized, double Gap, double? Rca);

/// <summary>A method over strengths, on validation.</summary>
/// <param name="Method">Its name.</param>
/// <param name="Sensitivity">Mean over seeds, and over the sets whose vectors were taken at several strengths.</param>
/// <param name="SafeStrength">Strengths around the best that keep half of its gain.</param>
/// <param name="SafeShift">The same as mean ‖Δh‖/‖h‖.</param>
public sealed record MethodStrength(string Method, IReadOnlyList<SensitivityPoint> Sensitivity, SafeRange SafeStrength, SafeRange SafeShift);

/// <summary>How a method trains.</summary>
/// <param name="Method">Its name.</param>
/// <param name="Rates">The tuned learning rate of each set.</param>
/// <param name="Runs">Trainings, all sets and seeds.</param>
/// <param name="Reached">Those that reach their set's target loss.</param>
/// <param name="MeanSteps">Mean steps of these to the target; null where none does.</param>
/// <param name="Plateau">Mean of the best losses.</param>
/// <param name="SeedSpread">Mean over sets of the difference between the worst and the best seed's best loss.</param>
public sealed record MethodConvergence(string Method, IReadOnlyList<double> Rates, int Runs, int Reached, double? MeanSteps, double Plateau, double SeedSpread);

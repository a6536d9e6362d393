using System.Globalization;
using YaPO.Llama.Evaluation.Methods;

namespace YaPO.Llama.Evaluation.Reports.Pages;

/// <summary>A <see cref="MethodsReport"/> as a page: the pictures of the paper in kind.</summary>
public static class MethodsPage
{
    /// <summary>The page.</summary>
    /// <param name="report">What was found.</param>
    /// <param name="facts">Model, files and settings.</param>
    public static ReportPage Of(MethodsReport report, IReadOnlyList<(string Name, string Value)> facts)
    {
        ArgumentNullException.ThrowIfNull(report);
        var (show, shares) = (new Numbers(report.IsShare), new Numbers(true));
        var split = report.Verdict.IndexOf(". ", StringComparison.Ordinal) + 1;
        return new ReportPage
        {
            Title = "Methods side by side",
            Headline = report.Verdict[..split],
            Lead = report.Verdict[(split + 1)..],
            Facts = [("measure", report.Measure), ("test", $"{report.Items} items of {report.Topics} topics; intervals are 95 %, by bootstrap over topics of the mean over seeds"), ("layer", $"{report.Layer}"), .. facts],
            Sections =
            [
                new ReportSection(
                    "On test data",
                    "Strengths were chosen on validation data by one rule: the smallest not measurably worse than the best (paired over the same questions, one standard error of the difference), within the budgets of KL and knowledge where there are some.",
                    [
                        ReportTable.Of(
                            report.Rows, r => r.Name == "yapo",
                            ("", r => r.Name), ("value [95 %]", r => show.Show(r.Value)), ("against unsteered", r => show.Signed(r.Gain)), ("yapo against it", r => show.Signed(r.YapoAdvantage)),
                            ("worst and best seed", r => r.SeedLow is { } low ? $"{show.Show(low)}, {show.Show(r.SeedHigh!.Value)}" : ""), ("knowledge", r => shares.Show(r.Knowledge)),
                            ("named", r => shares.Show(r.Localization?.Localized)), ("gap", r => r.Localization is { } l ? shares.Signed(l.Gap) : ""), ("RCA", r => Numbers.Short(r.Localization?.Rca))),
                        Bars("What the answers become (the dashed line is the unsteered model)", report.Measure, report.IsShare, report.Rows, r => r.Value),
                        .. report.Rows[0].Knowledge is null ? [] : new ReportPart[] { Bars("Knowledge retained", "share of knowledge questions answered right", true, report.Rows, r => r.Knowledge!) },
                    ]),
                .. report.Matrix is { } matrix
                    ? [new ReportSection("Per label", "Share of questions without a named label that are answered as each label.", [new CellChart("Share of questions answered as each label", true, matrix.Labels, [.. matrix.Rows.Select(r => new CellRow(r.Name, r.Shares))])])]
                    : Array.Empty<ReportSection>(),
                Convergence(report),
                Sensitivity(report, show),
            ],
            Notes = report.Notes,
            Json = report.ToJson(),
        };
    }

    private static ReportSection Convergence(MethodsReport report)
    {
        var optimized = report.Methods.Where(m => m.LearningRate is not null).ToList();
        var parts = new List<ReportPart>();
        if (LineChart.Of(
            "Loss while training, each method at its own tuned rate", "optimizer step", "loss", false, false,
            optimized.SelectMany(m => m.Runs.Select(r => new LineSeries($"{m.Method}, seed {r.Seed}", [.. r.Curve.Select(p => new LinePoint(p.Step, p.Loss))])))) is { } curves)
        {
            parts.Add(curves);
        }

        parts.Add(ReportTable.Of(
            optimized.SelectMany(m => m.Runs.Select(r => (Method: m, Run: r))).ToList(), x => x.Method.Method == "yapo",
            ("", x => $"{x.Method.Method}, seed {x.Run.Seed}"), ("rate", x => Numbers.Short(x.Method.LearningRate)),
            ("steps to target", x => x.Run.StepsToTarget?.ToString(CultureInfo.InvariantCulture) ?? "never"), ("best loss", x => Numbers.Short(x.Run.Plateau))));
        parts.Add(ReportTable.Of(
            optimized.SelectMany(m => m.Rates.Select(r => (Method: m, Rate: r))).ToList(), _ => false,
            ("", x => x.Method.Method), ("rate tried", x => Numbers.Short(x.Rate.LearningRate)), ("loss reached", x => double.IsFinite(x.Rate.Loss) ? Numbers.Short(x.Rate.Loss) : "failed")));
        return new ReportSection(
            "Convergence",
            report.TargetLoss is { } target
                ? string.Create(CultureInfo.InvariantCulture, $"The target loss, {target:0.###}, lies halfway from ln 2, where every training starts, to the lowest loss that any run reached. After pruning, yapo goes on with its refit on the kept latents.")
                : "No method was optimized.",
            parts);
    }

    private static ReportSection Sensitivity(MethodsReport report, Numbers show)
    {
        var parts = new List<ReportPart>();
        void Add(LineChart? chart)
        {
            if (chart is not null)
            {
                parts.Add(chart);
            }
        }

        Add(LineChart.Of("Over how far the residual stream is moved, the axis that methods share", "mean ‖Δh‖/‖h‖", report.Measure, report.IsShare, true,
            report.Methods.Select(m => new LineSeries(m.Method, [.. m.Sensitivity.Select(p => new LinePoint(p.RelativeShift, p.Value))]))));
        Add(LineChart.Of("Over the strength λ", "strength λ", report.Measure, report.IsShare, true,
            report.Methods.Select(m => new LineSeries(m.Method, [.. m.Sensitivity.Select(p => new LinePoint(p.Strength, p.Value))]))));
        Add(LineChart.Of("Knowledge over how far the residual stream is moved", "mean ‖Δh‖/‖h‖", "share of knowledge questions answered right", true, true,
            report.Methods.Select(m => new LineSeries(m.Method, [.. m.Sensitivity.Where(p => p.Knowledge is not null).Select(p => new LinePoint(p.RelativeShift, p.Knowledge!.Value))]))));
        parts.Add(ReportTable.Of(
            report.Methods, m => m.Method == "yapo",
            ("", m => m.Method), ("safe λ", m => $"{Numbers.Short(m.SafeStrength.Low)} to {Numbers.Short(m.SafeStrength.High)}"), ("safe ‖Δh‖/‖h‖", m => $"{Numbers.Short(m.SafeShift.Low)} to {Numbers.Short(m.SafeShift.High)}"),
            ("λ chosen", m => string.Join(", ", m.Runs.Select(r => Numbers.Short(r.Strength)))), ("‖Δh‖/‖h‖ there", m => string.Join(", ", m.Runs.Select(r => Numbers.Short(r.RelativeShift)))),
            ("KL/token there", m => m.Runs[0].KlPerToken is null ? "" : string.Join(", ", m.Runs.Select(r => Numbers.Short(r.KlPerToken)))),
            ("value there", m => string.Join(", ", m.Runs.Select(r => show.Show(r.Value))))));
        return new ReportSection("Strength", "On a sample of the validation items, mean over seeds. Safe are the strengths around the best that keep half of its gain.", parts);
    }

    private static IntervalChart Bars(string title, string label, bool isShare, IReadOnlyList<MethodRow> rows, Func<MethodRow, Interval> value) =>
        new(title, label, isShare, value(rows[0]).Value, [.. rows.Select(r => new IntervalBar(r.Name, value(r).Value, value(r).Low, value(r).High, r.Name == "yapo"))]);
}

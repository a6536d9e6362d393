using System.Globalization;
using YaPO.Llama.Evaluation.Tuning;

namespace YaPO.Llama.Evaluation.Reports.Pages;

/// <summary>A <see cref="TuneReport"/> as a page.</summary>
public static class TunePage
{
    /// <summary>The page.</summary>
    /// <param name="report">What was found.</param>
    /// <param name="facts">Model, files and method.</param>
    public static ReportPage Of(TuneReport report, IReadOnlyList<(string Name, string Value)> facts)
    {
        ArgumentNullException.ThrowIfNull(report);
        var show = new Numbers(report.IsShare);
        var fine = report.Candidates.Where(c => c.Fine.Count > 0).ToList();
        var parts = new List<ReportPart>();
        if (LineChart.Of(
            "Candidates of the fine pass: what they gain for the distance they move the model", "KL on neutral text, nats per token", report.Measure, report.IsShare, true,
            fine.Select(c => new LineSeries(c.Name, [.. c.Fine.Select(p => new LinePoint(p.KlPerToken ?? double.NaN, p.Value.Value, p.Value.Low, p.Value.High))])), new LineRule(report.KlBudget, "budget")) is { } byKl)
        {
            parts.Add(byKl);
        }

        if (LineChart.Of(
            "The same over the strength", "strength λ", report.Measure, report.IsShare, false,
            fine.Select(c => new LineSeries(c.Name, [.. c.Fine.Select(p => new LinePoint(p.Strength, p.Value.Value, p.Value.Low, p.Value.High))])), new LineRule(report.Strength, "chosen")) is { } byStrength)
        {
            parts.Add(byStrength);
        }

        parts.Add(ReportTable.Of(
            fine.SelectMany(c => c.Fine.Select(p => (Candidate: c, Point: p))).ToList(), x => x.Candidate.Name == report.Chosen && x.Point.Strength.Equals(report.Strength),
            ("", x => x.Candidate.Name), ("strength", x => Numbers.Short(x.Point.Strength)), ("value [95 %]", x => show.Show(x.Point.Value)), ("KL/token", x => Numbers.Short(x.Point.KlPerToken))));
        return new ReportPage
        {
            Title = $"tune: {report.Chosen}",
            Headline = report.Verdict,
            Lead = string.Create(
                CultureInfo.InvariantCulture,
                $"Chosen: {report.Chosen}, strength {report.Strength:0.###} (safe from {report.MinStrength:0.###} to {report.MaxStrength:0.###}), {report.KlPerToken:0.####} of {report.KlBudget:0.####} nats per token. Validation data chose it, so its validation figures flatter{(report.Test is null ? "; no test data were given" : "; the test figures do not")}."),
            Facts = [("measure", report.Measure), .. report.Knowledge is { } kept ? [("knowledge on validation", $"{new Numbers(true).Show(report.UnsteeredKnowledge!)} unsteered, {new Numbers(true).Show(kept)} at the chosen strength")] : Array.Empty<(string, string)>(), ("validation", $"{report.Items} items of {report.Topics} topics; intervals are 95 %, by bootstrap over topics"), .. facts],
            Sections =
            [
                .. report.Test is { } test ? [Section("On test data, measured once", test, report, show)] : Array.Empty<ReportSection>(),
                Section("On the validation data, which chose", report.Validation, report, show),
                new ReportSection("Fine pass", "Smallest strength not measurably worse than the best (paired, one standard error of the difference), within the budget.", parts),
                new ReportSection(
                    "Coarse pass",
                    "Every candidate on a sample of the validation items, at shares of the strength that spends the budget.",
                    [
                        ReportTable.Of(
                            report.Candidates, c => c.Name == report.Chosen,
                            ("", c => c.Name), ("layer", c => $"{c.Layer}"), ("positions", c => c.Positions), ("support", c => c.Support > 0 ? $"{c.Support}" : "dense"),
                            ("λ at the budget", c => Numbers.Short(c.LargestStrength)),
                            ("best value [95 %]", c => show.Show(c.Coarse.MaxBy(p => p.Value.Value)!.Value)), ("at λ", c => Numbers.Short(c.Coarse.MaxBy(p => p.Value.Value)!.Strength))),
                    ]),
            ],
            Notes = report.Notes,
            Json = report.ToJson(),
        };
    }

    private static ReportSection Section(string title, IReadOnlyList<TuneRow> rows, TuneReport report, Numbers show) => new(
        title, "",
        [
            ReportTable.Of(
                rows, r => r.Kind == "vector",
                ("", r => r.Name), ("strength", r => Numbers.Short(r.Strength)), ("value [95 %]", r => show.Show(r.Value)), ("vector against it", r => show.Signed(r.VectorAdvantage)), ("KL/token", r => Numbers.Short(r.KlPerToken))),
            new IntervalChart(
                "The chosen vector beside what it must be compared with", report.Measure, report.IsShare, rows.First(r => r.Kind == "unsteered").Value.Value,
                [.. rows.Select(r => new IntervalBar(r.Name, r.Value.Value, r.Value.Low, r.Value.High, r.Kind == "vector"))]),
        ]);
}

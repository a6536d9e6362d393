using YaPO.Llama.Evaluation.Transfer;

namespace YaPO.Llama.Evaluation.Reports.Pages;

/// <summary>A <see cref="TransferReport"/> as a page.</summary>
public static class TransferPage
{
    /// <summary>The page.</summary>
    public static ReportPage Of(TransferReport report, IReadOnlyList<(string Name, string Value)> facts)
    {
        ArgumentNullException.ThrowIfNull(report);
        var show = new Numbers(report.IsShare);
        return new ReportPage
        {
            Title = "Trained on one quantization, run on another",
            Headline = report.Verdict,
            Lead = "Rows are the file that a vector was trained on, columns the file that it steers. Its strength was chosen on the file it was trained on.",
            Facts = [("measure", report.Measure), ("test", $"{report.Items} items of {report.Topics} topics; intervals are 95 %, by bootstrap over topics"), .. facts],
            Sections =
            [
                new ReportSection("Train × run", "", [
                    new CellChart(report.Measure, report.IsShare, report.RunOn, [.. report.Rows.Select(r => new CellRow(r.Name, [.. r.Values.Select(v => v.Value)]))]),
                    ReportTable.Of(report.Rows, _ => false, [("", r => r.Name), ("strength", r => Numbers.Short(r.Strength)), .. report.RunOn.Select((file, i) => (file, (Func<TransferRow, string>)(r => show.Show(r.Values[i]))))]),
                ]),
                new ReportSection("Does training on the quantized model matter?", $"Trained on the file that is run minus trained on {report.RunOn[0]}, the same items.", [
                    ReportTable.Of(report.Differences, _ => false, ("run on", d => d.RunOn), ("difference [95 %]", d => show.Signed(d.Difference))),
                ]),
            ],
            Notes = report.Notes,
            Json = report.ToJson(),
        };
    }
}

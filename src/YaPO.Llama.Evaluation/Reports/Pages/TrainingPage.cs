using System.Globalization;
using System.Text.Json;

namespace YaPO.Llama.Evaluation.Reports.Pages;

/// <summary>The JSON Lines log of a training as a page: every column over the steps.</summary>
public static class TrainingPage
{
    private static readonly (string Title, string YLabel, bool IsShare, (string Name, string Column)[] Series)[] Charts =
    [
        ("Loss", "loss", false, [("training batch", "loss"), ("validation", "validation_loss")]),
        ("Margin of chosen over rejected against the unsteered model", "nats", false, [("training batch", "margin"), ("validation", "validation_margin")]),
        ("Pairs decided as wanted", "share of pairs", true, [("training batch", "accuracy"), ("validation", "validation_accuracy")]),
        ("Non-zero entries", "entries", false, [("support", "support")]),
        ("Norm of v", "‖v‖", false, [("v", "v_norm")]),
        ("Learning rate", "rate", false, [("rate", "learning_rate")]),
    ];

    /// <summary>The page.</summary>
    /// <param name="lines">The log; a last line that a kill cut short is left out.</param>
    /// <param name="name">Of the vector.</param>
    /// <param name="facts">Method, model and files.</param>
    /// <exception cref="YapoException">A line is no JSON object with a step.</exception>
    public static ReportPage Of(IReadOnlyList<string> lines, string name, IReadOnlyList<(string Name, string Value)> facts)
    {
        ArgumentNullException.ThrowIfNull(lines);
        var steps = new List<(long Step, JsonElement Line)>();
        for (var i = 0; i < lines.Count; i++)
        {
            try
            {
                var line = JsonDocument.Parse(lines[i]).RootElement;
                steps.Add((line.GetProperty("step").GetInt64(), line));
            }
            catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
            {
                if (i < lines.Count - 1)
                {
                    throw new YapoException(YapoErrorKind.Format, $"line {i + 1} of the training log is damaged: {e.Message}", e);
                }
            }
        }

        List<LinePoint> Points(string column) =>
            [.. steps.Where(s => s.Line.TryGetProperty(column, out var v) && v.ValueKind == JsonValueKind.Number).Select(s => new LinePoint(s.Step, s.Line.GetProperty(column).GetDouble()))];
        var best = Points("validation_loss").MinBy(p => p.Y);
        return new ReportPage
        {
            Title = $"Training of {name}",
            Headline = steps.Count == 0 ? "Nothing was optimized: this method needs forward passes only." : string.Create(CultureInfo.InvariantCulture, $"{steps.Count} steps, loss {Points("loss").Take(1).Sum(p => p.Y):0.000} at first, {Points("loss").TakeLast(1).Sum(p => p.Y):0.000} at last."),
            Lead = steps.Count == 0 ? ""
                : best is null ? "There were no validation pairs, so nothing here says whether the vector carries over; see eval for that, and for whether a prompt does as well."
                : string.Create(CultureInfo.InvariantCulture, $"Lowest validation loss {best.Y:0.000} at step {best.X:0}. Whether a prompt or a control does as well, a training cannot say; see eval."),
            Facts = facts,
            Sections =
            [
                new ReportSection("Over the steps", "", [.. Charts.Select(c => LineChart.Of(c.Title, "optimizer step", c.YLabel, c.IsShare, false, c.Series.Select(s => new LineSeries(s.Name, Points(s.Column))))).OfType<ReportPart>()]),
                new ReportSection(
                    "Validations", "",
                    [
                        ReportTable.Of(
                            steps.Where(s => s.Line.TryGetProperty("validation_loss", out _)).ToList(), _ => false,
                            ("step", s => s.Step.ToString(CultureInfo.InvariantCulture)), ("loss", s => Cell(s.Line, "validation_loss")), ("margin", s => Cell(s.Line, "validation_margin")),
                            ("accuracy", s => Cell(s.Line, "validation_accuracy")), ("support", s => Cell(s.Line, "support"))),
                    ]),
            ],
            Json = $"[{string.Join(",\n", steps.Select(s => s.Line.GetRawText()))}]",
        };
    }

    private static string Cell(JsonElement line, string column) => line.TryGetProperty(column, out var v) && v.ValueKind == JsonValueKind.Number ? Numbers.Short(v.GetDouble()) : "";
}

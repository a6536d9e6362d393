using System.Text.Json.Serialization;

namespace YaPO.Llama.Evaluation.Reports.Pages;

/// <summary>A figure as data; the script of the page draws it.</summary>
/// <param name="Title">Caption, and what a screen reader says.</param>
[JsonDerivedType(typeof(IntervalChart), "intervals")]
[JsonDerivedType(typeof(LineChart), "lines")]
[JsonDerivedType(typeof(StripChart), "strip")]
[JsonDerivedType(typeof(CellChart), "cells")]
[JsonPolymorphic(TypeDiscriminatorPropertyName = "type")]
public abstract record ReportChart([property: JsonPropertyOrder(-1)] string Title) : ReportPart;

/// <summary>A value with its interval for each row.</summary>
/// <param name="Title">Caption.</param>
/// <param name="XLabel">What the values are.</param>
/// <param name="IsShare">Shown in per cent.</param>
/// <param name="Baseline">Where a line is drawn through all rows; null for none.</param>
/// <param name="Rows">From top to bottom; names differ.</param>
public sealed record IntervalChart(string Title, string XLabel, bool IsShare, double? Baseline, IReadOnlyList<IntervalBar> Rows) : ReportChart(Title);

/// <summary>One row of an <see cref="IntervalChart"/>.</summary>
public sealed record IntervalBar(string Name, double Value, double Low, double High, bool Emphasis);

/// <summary>Curves over a number.</summary>
/// <param name="Title">Caption.</param>
/// <param name="XLabel">What is varied.</param>
/// <param name="YLabel">What is measured.</param>
/// <param name="IsShare">y in per cent.</param>
/// <param name="XLog">Logarithmic x; then every x is above 0.</param>
/// <param name="Series">The curves; those without points are left out by <see cref="Of"/>.</param>
/// <param name="Rules">Vertical lines.</param>
public sealed record LineChart(string Title, string XLabel, string YLabel, bool IsShare, bool XLog, IReadOnlyList<LineSeries> Series, IReadOnlyList<LineRule> Rules) : ReportChart(Title)
{
    /// <summary>A chart of those points that can be drawn; null where none can.</summary>
    public static LineChart? Of(string title, string xLabel, string yLabel, bool isShare, bool xLog, IEnumerable<LineSeries> series, params IEnumerable<LineRule> rules)
    {
        var drawn = series
            .Select(s => s with { Points = [.. s.Points.Where(p => double.IsFinite(p.X) && double.IsFinite(p.Y) && (!xLog || p.X > 0)).OrderBy(p => p.X)] })
            .Where(s => s.Points.Count > 0).ToList();
        return drawn.Count == 0 ? null : new LineChart(title, xLabel, yLabel, isShare, xLog, drawn, [.. rules.Where(r => !xLog || r.X > 0)]);
    }
}

/// <summary>One curve.</summary>
public sealed record LineSeries(string Name, IReadOnlyList<LinePoint> Points);

/// <summary>A point, with an interval where there is one.</summary>
public sealed record LinePoint(double X, double Y, double? Low = null, double? High = null);

/// <summary>A vertical line with a name.</summary>
public sealed record LineRule(double X, string Name);

/// <summary>Every value of many repetitions, and a mark to compare them with.</summary>
public sealed record StripChart(string Title, string XLabel, bool IsShare, IReadOnlyList<StripGroup> Groups) : ReportChart(Title);

/// <summary>One row of a <see cref="StripChart"/>.</summary>
public sealed record StripGroup(string Name, double Mark, IReadOnlyList<double> Values);

/// <summary>A matrix of numbers.</summary>
public sealed record CellChart(string Title, bool IsShare, IReadOnlyList<string> Columns, IReadOnlyList<CellRow> Rows) : ReportChart(Title);

/// <summary>One row of a <see cref="CellChart"/>.</summary>
public sealed record CellRow(string Name, IReadOnlyList<double> Values);

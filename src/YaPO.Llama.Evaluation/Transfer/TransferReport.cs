using System.Globalization;
using YaPO.Llama.Evaluation.Methods;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation.Transfer;

/// <summary>Vectors trained on some files of a model and run on others: does training on the quantized model matter?</summary>
public sealed record TransferReport
{
    /// <summary>The answer in one sentence.</summary>
    public required string Verdict { get; init; }

    /// <summary>What the values are.</summary>
    public required string Measure { get; init; }

    /// <summary>Whether they are shares of 1.</summary>
    public required bool IsShare { get; init; }

    /// <summary>Test items.</summary>
    public required int Items { get; init; }

    /// <summary>Their topics.</summary>
    public required int Topics { get; init; }

    /// <summary>The files vectors are run on: columns.</summary>
    public required IReadOnlyList<string> RunOn { get; init; }

    /// <summary>Unsteered first, then a row for each file trained on.</summary>
    public required IReadOnlyList<TransferRow> Rows { get; init; }

    /// <summary>For each file run on but the first: trained on that file − trained on the first file, paired.</summary>
    public required IReadOnlyList<TransferDifference> Differences { get; init; }

    /// <summary>What is missing, and why.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>As JSON.</summary>
    public string ToJson() => MethodsJson.Write(this);

    /// <summary>Puts measurements together.</summary>
    /// <param name="suite">The test suite.</param>
    /// <param name="files">Names of the model files; the first is what the others are compared with.</param>
    /// <param name="unsteered">Outcomes on each file.</param>
    /// <param name="strengths">λ chosen for the vector of each file.</param>
    /// <param name="outcomes">[trained on][run on].</param>
    /// <param name="notes">What is missing.</param>
    public static TransferReport Of(
        ISuite suite, IReadOnlyList<string> files, IReadOnlyList<IReadOnlyList<ItemOutcome>> unsteered, IReadOnlyList<double> strengths,
        IReadOnlyList<IReadOnlyList<IReadOnlyList<ItemOutcome>>> outcomes, IReadOnlyList<string> notes)
    {
        List<ItemOutcome> Primary(IReadOnlyList<ItemOutcome> all) => [.. all.Where(o => o.Group == suite.PrimaryGroup)];
        var sign = suite.LowerIsBetter ? -1 : 1;
        var differences = Enumerable.Range(1, files.Count - 1).Select(i => new TransferDifference(files[i], Interval.Difference(Primary(outcomes[i][i]), Primary(outcomes[0][i])))).ToList();
        string Points(Interval x) => suite.IsShare ? string.Create(CultureInfo.InvariantCulture, $"{100 * x.Value:+0.0;-0.0;0.0} points [{100 * x.Low:0.0}, {100 * x.High:0.0}]") : string.Create(CultureInfo.InvariantCulture, $"{x.Value:0.###} [{x.Low:0.###}, {x.High:0.###}]");
        var clauses = differences.Select(d => $"on {d.RunOn}, training there instead of on {files[0]} {(sign * d.Difference.Value > 0 && sign * (sign > 0 ? d.Difference.Low : d.Difference.High) > 0 ? "helps" : d.Difference.Low > 0 || d.Difference.High < 0 ? "hurts" : "makes no measurable difference")} ({Points(d.Difference)})");
        return new TransferReport
        {
            Verdict = string.Join("; ", clauses) is { Length: > 0 } text ? char.ToUpperInvariant(text[0]) + text[1..] + "." : "",
            Measure = suite.Measure,
            IsShare = suite.IsShare,
            Items = Primary(unsteered[0]).Count,
            Topics = suite.Topics,
            RunOn = files,
            Rows =
            [
                new TransferRow("unsteered", null, [.. unsteered.Select(o => Interval.Of(Primary(o)))]),
                .. files.Select((file, i) => new TransferRow($"trained on {file}", strengths[i], [.. outcomes[i].Select(o => Interval.Of(Primary(o)))])),
            ],
            Differences = differences,
            Notes = notes,
        };
    }
}

/// <summary>One vector on every file.</summary>
/// <param name="Name">unsteered, or what it was trained on.</param>
/// <param name="Strength">λ chosen on the file it was trained on.</param>
/// <param name="Values">One for each file.</param>
public sealed record TransferRow(string Name, double? Strength, IReadOnlyList<Interval> Values);

/// <summary>What training on the file gains over training on the first file.</summary>
public sealed record TransferDifference(string RunOn, Interval Difference);

using System.Globalization;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation.Reports.Pages;

namespace YaPO.Llama.Cli.Benchmarks;

/// <summary>A <see cref="SteeringBenchResult"/> as a table and as a page.</summary>
internal static class SteeringBenchPage
{
    public static IReadOnlyList<string> Headers { get; } = ["arm", "decode ms", "× time", "× CPU", "bound", "prefill ms", "× time", "× CPU", "bound"];

    public static IReadOnlyList<string> Row(SteeringArmResult arm) => [arm.Arm, .. Cells(arm.Decode), .. Cells(arm.Prefill)];

    public static ReportPage Of(SteeringBenchResult result)
    {
        var steered = result.Arms.Where(a => a.Arm != a.Baseline).ToList();
        var still = steered.First(a => a.Kind == "null");
        var worst = steered.MaxBy(a => a.Decode.ProcessorRatio.Median)!;
        return new ReportPage
        {
            Title = $"What steering costs: {Path.GetFileName(result.Model)}",
            Headline = string.Create(CultureInfo.InvariantCulture, $"The dearest arm, {worst.Arm}, takes {worst.Decode.ProcessorRatio.Median:0.000} times the processor time of an unsteered token."),
            Lead = string.Create(CultureInfo.InvariantCulture, $"A second unsteered context measures {still.Decode.ProcessorRatio.Median:0.000} [{still.Decode.ProcessorRatio.Low:0.000}–{still.Decode.ProcessorRatio.High:0.000}]: less than that cannot be told from nothing."),
            Facts =
            [
                ("model", $"{result.Model}: {result.Description}"),
                ("device", $"{result.Device}; {result.Threads} threads of {result.Cores} cores, load {result.Load?.ToString("0.0", CultureInfo.InvariantCulture) ?? "unknown"}"),
                ("work", $"{result.Rounds} rounds of {result.PromptTokens} + {result.AnswerTokens} tokens; one step of each arm in turn"),
                ("vectors", $"random, at block {result.Layer}, decoder rows {result.Rows}"),
                ("program", result.Program),
            ],
            Sections =
            [
                new ReportSection("Decoding", "Time of one token relative to the unsteered token beside it; the bound is bytes of rows read over bytes of weights read.",
                [
                    Chart("Processor time of a decoded token", steered, a => a.Decode.ProcessorRatio),
                    Chart("Wall time of a decoded token", steered, a => a.Decode.Ratio),
                ]),
                new ReportSection("Prefill", "Time of one prompt relative to the unsteered prompt beside it; the bound is multiply-adds of rows over those of weights.",
                [
                    Chart("Processor time of a prompt", steered, a => a.Prefill.ProcessorRatio),
                    Chart("Wall time of a prompt", steered, a => a.Prefill.Ratio),
                ]),
                new ReportSection("All figures", "", [new ReportTable(Headers, [.. result.Arms.Select(Row)])]),
                new ReportSection("Checked before timing", "", [ReportTable.Of(result.Checks, _ => false, ("arm", c => c.Arm), ("compared", c => c.Compared), ("error", c => Text(c.Error)), ("allowed", c => Text(c.Allowed)))]),
            ],
            Notes =
            [
                "Intervals are 95 %, by bootstrap over rounds, of the median ratio.",
                "Idle is a context whose vectors were attached and detached beside one that never had any. An unpatched llama.cpp cannot be loaded into the same process, and separate processes differ by more than there is to measure; that the patch changes no bit is tested.",
                "The stock route has one strength per vector for all tokens, F32 rows, and a copy of the residual stream to the host and back; its bound counts the rows only.",
            ],
            Json = JsonOutput.Serialize(result),
        };
    }

    private static IntervalChart Chart(string title, IReadOnlyList<SteeringArmResult> arms, Func<SteeringArmResult, MedianInterval> value) =>
        new(title, "times the unsteered step", false, 1, [.. arms.Select(a => (a.Arm, Value: value(a))).Select(a => new IntervalBar(a.Arm, a.Value.Median, a.Value.Low, a.Value.High, false))]);

    private static string[] Cells(StepCost cost) =>
    [
        cost.Milliseconds.ToString("0.00", CultureInfo.InvariantCulture), Interval(cost.Ratio), Interval(cost.ProcessorRatio), cost.LowerBound.ToString("0.0000", CultureInfo.InvariantCulture),
    ];

    private static string Interval(MedianInterval i) => string.Create(CultureInfo.InvariantCulture, $"{i.Median:0.000} [{i.Low:0.000}–{i.High:0.000}]");

    private static string Text(double x) => x == 0 ? "0" : x.ToString("0.#e0", CultureInfo.InvariantCulture);
}

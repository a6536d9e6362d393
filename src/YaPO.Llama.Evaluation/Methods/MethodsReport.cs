using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using YaPO.Llama.Evaluation.Reports;

namespace YaPO.Llama.Evaluation.Methods;

/// <summary>Training methods side by side on one data set.</summary>
public sealed record MethodsReport
{
    /// <summary>In one sentence, whether prompting or a method wins.</summary>
    public required string Verdict { get; init; }

    /// <summary>What the test's values are.</summary>
    public required string Measure { get; init; }

    /// <summary>Whether they are shares of 1.</summary>
    public required bool IsShare { get; init; }

    /// <summary>Test items.</summary>
    public required int Items { get; init; }

    /// <summary>Their topics.</summary>
    public required int Topics { get; init; }

    /// <summary>Steered block.</summary>
    public required int Layer { get; init; }

    /// <summary>The loss that convergence is read at; null where nothing was optimized on validation pairs.</summary>
    public double? TargetLoss { get; init; }

    /// <summary>Unsteered, prompt, and each method; intervals by bootstrap over topics of the mean over seeds.</summary>
    public required IReadOnlyList<MethodRow> Rows { get; init; }

    /// <summary>Details of each method.</summary>
    public required IReadOnlyList<MethodDetails> Methods { get; init; }

    /// <summary>Share of questions answered as each label, mean over seeds; null for data without labels.</summary>
    public LabelMatrix? Matrix { get; init; }

    /// <summary>What is missing, and why.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>As JSON.</summary>
    public string ToJson() => MethodsJson.Write(this);
}

/// <summary>One line of the comparison.</summary>
/// <param name="Name">unsteered, prompt only, or the method.</param>
/// <param name="Value">On test, mean over seeds.</param>
/// <param name="Gain">Paired difference to unsteered.</param>
/// <param name="YapoAdvantage">Paired difference yapo − this; null for yapo itself, or without it.</param>
/// <param name="Knowledge">What steering should leave alone; null where not measured.</param>
/// <param name="Localization">Questions that name a culture beside those that do not; null where the data has no such pair.</param>
/// <param name="SeedLow">The worst seed's value; null where there is one run.</param>
/// <param name="SeedHigh">The best seed's.</param>
public sealed record MethodRow(string Name, Interval Value, Interval? Gain, Interval? YapoAdvantage, Interval? Knowledge, Localization? Localization, double? SeedLow, double? SeedHigh);

/// <summary>What is behind a method's line.</summary>
/// <param name="Method">yapo, bipo, caa or sas.</param>
/// <param name="LearningRate">Chosen by the loss reached, see <see cref="RateTried"/>, in the units of <c>train</c>; null for methods without one.</param>
/// <param name="Rates">What the choice was made among.</param>
/// <param name="Runs">One per seed.</param>
/// <param name="Sensitivity">On validation, mean over seeds.</param>
/// <param name="SafeStrength">Strengths around the chosen one that keep half of the gain.</param>
/// <param name="SafeShift">The same as mean ‖Δh‖/‖h‖, which methods can be compared on.</param>
public sealed record MethodDetails(
    string Method, double? LearningRate, IReadOnlyList<RateTried> Rates, IReadOnlyList<MethodRun> Runs, IReadOnlyList<SensitivityPoint> Sensitivity, SafeRange SafeStrength, SafeRange SafeShift);

/// <summary>From a smallest to a largest number.</summary>
public sealed record SafeRange(double Low, double High);

/// <summary>A learning rate and the loss it reached: the best on validation pairs, without them the mean over the last quarter of the training batches; infinite where training failed at it.</summary>
public sealed record RateTried(double LearningRate, double Loss);

/// <summary>One seed of a method.</summary>
/// <param name="Seed">The seed.</param>
/// <param name="Curve">Loss over steps, on validation pairs where there are some; empty for methods without steps.</param>
/// <param name="StepsToTarget">First step at or below the target loss; null where it is never reached.</param>
/// <param name="Plateau">The best loss.</param>
/// <param name="Strength">λ chosen on validation.</param>
/// <param name="RelativeShift">Mean ‖Δh‖/‖h‖ there.</param>
/// <param name="KlPerToken">On neutral text; null without.</param>
/// <param name="Value">On test.</param>
public sealed record MethodRun(ulong Seed, IReadOnlyList<LossPoint> Curve, long? StepsToTarget, double? Plateau, double Strength, double RelativeShift, double? KlPerToken, double Value);

/// <summary>A loss at a step.</summary>
public sealed record LossPoint(long Step, double Loss);

/// <summary>One strength on the axis that methods share.</summary>
/// <param name="RelativeShift">Mean ‖Δh‖/‖h‖.</param>
/// <param name="Strength">Mean λ that gives it.</param>
/// <param name="Value">The suite's measure, mean over seeds.</param>
/// <param name="Knowledge">The knowledge suite's, on a sample; null where not measured.</param>
public sealed record SensitivityPoint(double RelativeShift, double Strength, double Value, double? Knowledge);

internal static class MethodsJson
{
    private static readonly JsonSerializerOptions Options = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new FiniteNumbers() },
    };

    public static string Write<T>(T report) => JsonSerializer.Serialize(report, Options);
}

using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace YaPO.Llama.Evaluation.Reports;

/// <summary>Everything an evaluation found. Plain records: <see cref="ToJson"/> writes them in snake_case, absent figures left out, figures that are not finite as null.</summary>
public sealed record EvaluationReport
{
    /// <summary>In one sentence, whether the vector beats the prompt and its controls.</summary>
    public required string Verdict { get; init; }

    /// <summary>Name of the suite.</summary>
    public required string Suite { get; init; }

    /// <summary>What its values are, in words.</summary>
    public required string Measure { get; init; }

    /// <summary>What the finer quantity beneath each value is, in words; empty where there is none.</summary>
    public required string DetailMeasure { get; init; }

    /// <summary>Whether values are shares of 1.</summary>
    public required bool IsShare { get; init; }

    /// <summary>Whether less is better.</summary>
    public required bool LowerIsBetter { get; init; }

    /// <summary>The model file.</summary>
    public required string Model { get; init; }

    /// <summary>The data file.</summary>
    public required string Data { get; init; }

    /// <summary>Items that decide.</summary>
    public required int Items { get; init; }

    /// <summary>Topics they belong to; intervals resample these.</summary>
    public required int Topics { get; init; }

    /// <summary>Seed of the random controls.</summary>
    public required ulong Seed { get; init; }

    /// <summary>The model as it is, where no vector was given.</summary>
    public ReportRow? Unsteered { get; init; }

    /// <summary>One entry for each vector.</summary>
    public IReadOnlyList<VectorReport> Vectors { get; init; } = [];

    /// <summary>What each vector does to each label; null for a single vector or data without labels.</summary>
    public LabelMatrix? Matrix { get; init; }

    /// <summary>What is missing from this report, and why.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>How fast it went.</summary>
    public Throughput? Throughput { get; init; }

    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower), new FiniteNumbers() },
    };

    /// <summary>As JSON.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Json);
}

/// <summary>All rows about one vector.</summary>
public sealed record VectorReport
{
    /// <summary>Its name.</summary>
    public required string Vector { get; init; }

    /// <summary>The label (culture) that counts for it.</summary>
    public string? Label { get; init; }

    /// <summary>Steered blocks.</summary>
    public required IReadOnlyList<int> Layers { get; init; }

    /// <summary>Latents; 0 for a dense vector.</summary>
    public required int Support { get; init; }

    /// <summary>Share of Σ|v| in negative entries: only these depend on the state.</summary>
    public required double NegativeMass { get; init; }

    /// <summary>λ that the test was run with.</summary>
    public required double Strength { get; init; }

    /// <summary>Whether that was chosen on validation, by the same rule for every row; otherwise it was given.</summary>
    public required bool StrengthChosen { get; init; }

    /// <summary>Whether the chosen strength keeps to the budgets of KL and knowledge; false where no strength tried does, and the smallest was taken. Null where it was given.</summary>
    public bool? StrengthKeepsBudgets { get; init; }

    /// <summary>What validation showed.</summary>
    public IReadOnlyList<TriedStrength>? Validation { get; init; }

    /// <summary>Strength 0 gave every number of the unsteered run, bit for bit (an evaluation stops where it does not).</summary>
    public required bool ZeroIsUnsteered { get; init; }

    /// <summary>Unsteered, prompt, vector, controls.</summary>
    public required IReadOnlyList<ReportRow> Rows { get; init; }

    /// <summary>The controls of which there are many.</summary>
    public required IReadOnlyList<RandomControls> Random { get; init; }

    /// <summary>Gain against KL on neutral text; null without such text.</summary>
    public IReadOnlyList<EqualKlCurve>? EqualKl { get; init; }

    /// <summary>In one sentence, whether this vector beats the prompt and its controls.</summary>
    public required string Verdict { get; init; }
}

/// <summary>A strength that was tried on validation.</summary>
/// <param name="Strength">In the vector's units.</param>
/// <param name="Value">The suite's measure.</param>
/// <param name="KlPerToken">On neutral text, nats; null where it was not asked for.</param>
/// <param name="Knowledge">Share of the validation knowledge questions answered rightly; null where it was not asked for.</param>
public sealed record TriedStrength(double Strength, double Value, double? KlPerToken = null, double? Knowledge = null);

/// <summary>One way of steering.</summary>
public sealed record ReportRow
{
    /// <summary>For people.</summary>
    public required string Name { get; init; }

    /// <summary>unsteered, prompt_only, strength_zero, or an arm's kind.</summary>
    public required string Kind { get; init; }

    /// <summary>In the vector's units; null where nothing has one.</summary>
    public double? Strength { get; init; }

    /// <summary>The measure over the items that decide.</summary>
    public required Interval Value { get; init; }

    /// <summary>Items in which what counts ties with something else for the likeliest, and gets its share; null for none.</summary>
    public int? Ties { get; init; }

    /// <summary>Paired difference to unsteered.</summary>
    public Interval? Gain { get; init; }

    /// <summary>Paired difference vector − this row, positive where the vector is better.</summary>
    public Interval? VectorAdvantage { get; init; }

    /// <summary>Mean ‖Δh‖ over tokens after clipping.</summary>
    public double? Shift { get; init; }

    /// <summary>Mean ‖Δh‖/‖h‖.</summary>
    public double? RelativeShift { get; init; }

    /// <summary>KL(π_0 ‖ π_λ) on neutral text, nats per token.</summary>
    public double? KlPerToken { get; init; }

    /// <summary>Mean of the finer quantity beneath the value (a margin in nats, a judge's greedy digit).</summary>
    public double? Detail { get; init; }

    /// <summary>Paired difference of that quantity to unsteered: how far margins moved, even where no item changed sides.</summary>
    public Interval? DetailGain { get; init; }

    /// <summary>exp of the value, where it is a negative log-likelihood per token.</summary>
    public Interval? Perplexity { get; init; }

    /// <summary>The side suite that steering should leave alone.</summary>
    public Interval? Knowledge { get; init; }

    /// <summary>Questions that name the culture beside those that do not.</summary>
    public Localization? Localization { get; init; }

    /// <summary>How often it refuses what it should, and what it should not; null where that was not measured.</summary>
    public RefusalRates? Refusals { get; init; }
}

/// <summary>
/// Localized (p_l) and non-localized (p_n) scores, per topic that has both. RCA = E[2 p_l p_n / (p_l + p_n + ε)];
/// PNLG_α = E[(p_l − p_n) / (p̄^α + ε)], p̄ their mean, ε = 1e-6.
/// </summary>
/// <param name="Localized">Where the question names the culture.</param>
/// <param name="NonLocalized">Where it does not.</param>
/// <param name="Gap">Localized − non-localized.</param>
/// <param name="Rca">Robust cultural accuracy.</param>
/// <param name="Pnlg">Performance-normalized localization gap.</param>
/// <param name="Alpha">α of the latter.</param>
/// <param name="Topics">Topics that have both.</param>
/// <param name="NamedOther">Share of right answers where the question names another culture: what the vector overrides.</param>
public sealed record Localization(Interval Localized, Interval NonLocalized, double Gap, double? Rca, double? Pnlg, double Alpha, int Topics, Interval? NamedOther);

/// <summary>Many controls of one kind, on a sample of the items.</summary>
/// <param name="Kind">random_direction or random_latents.</param>
/// <param name="Count">How many.</param>
/// <param name="Items">Items of the sample.</param>
/// <param name="VectorValue">The vector on the same items, its strength chosen on the same sample of validation.</param>
/// <param name="Mean">Mean over the controls.</param>
/// <param name="Best">The best of them.</param>
/// <param name="PValue">(1 + controls at least as good as the vector) / (1 + controls).</param>
/// <param name="Values">All of them.</param>
/// <param name="Strengths">The strength of each, in the vector's units.</param>
public sealed record RandomControls(string Kind, int Count, int Items, double VectorValue, double Mean, double Best, double PValue, IReadOnlyList<double> Values, IReadOnlyList<double> Strengths)
{
    /// <summary>Controls that the vector beats. A value that is not finite (a model driven out of its numbers) beats nothing and is beaten by every other.</summary>
    internal int Beaten(bool lowerIsBetter) => Values.Count(v => IsBetter(VectorValue, v, lowerIsBetter));

    /// <summary>Compares a vector with controls of one kind.</summary>
    internal static RandomControls Of(string kind, int items, double own, IReadOnlyList<double> values, IReadOnlyList<double> strengths, bool lowerIsBetter)
    {
        var asGood = values.Count(v => !IsBetter(own, v, lowerIsBetter));
        return new RandomControls(
            kind, values.Count, items, own, values.Average(), values.Aggregate((best, v) => IsBetter(v, best, lowerIsBetter) ? v : best), (1 + asGood) / (1.0 + values.Count), values, strengths);
    }

    private static bool IsBetter(double a, double b, bool lowerIsBetter) => double.IsFinite(a) && (!double.IsFinite(b) || (lowerIsBetter ? a < b : a > b));
}

/// <summary>One arm at equal distances from the unsteered model.</summary>
/// <param name="Name">The arm.</param>
/// <param name="Kind">Its kind.</param>
/// <param name="Points">One for each budget it reaches.</param>
public sealed record EqualKlCurve(string Name, string Kind, IReadOnlyList<EqualKlPoint> Points);

/// <summary>An arm at the strength that spends a budget.</summary>
/// <param name="Budget">Nats per token on neutral text.</param>
/// <param name="Strength">λ found by bisection, in the vector's units.</param>
/// <param name="KlPerToken">What it really spends.</param>
/// <param name="Value">The suite's measure there.</param>
/// <param name="Gain">Value − unsteered.</param>
public sealed record EqualKlPoint(double Budget, double Strength, double KlPerToken, double Value, double Gain);

/// <summary>Share of questions answered as each label, under each vector.</summary>
/// <param name="Labels">Columns.</param>
/// <param name="Rows">"unsteered" and the vectors.</param>
public sealed record LabelMatrix(IReadOnlyList<string> Labels, IReadOnlyList<LabelMatrixRow> Rows);

/// <summary>One row of a <see cref="LabelMatrix"/>.</summary>
/// <param name="Name">The vector, or "unsteered".</param>
/// <param name="Shares">One share for each label.</param>
public sealed record LabelMatrixRow(string Name, IReadOnlyList<double> Shares);

/// <summary>How fast an evaluation was.</summary>
/// <param name="Tokens">Tokens computed, what answers share counted once.</param>
/// <param name="Seconds">Wall time.</param>
/// <param name="TokensPerSecond">Their ratio.</param>
public sealed record Throughput(long Tokens, double Seconds, double TokensPerSecond)
{
    /// <summary>With the ratio worked out.</summary>
    public static Throughput Of(long tokens, double seconds) => new(tokens, seconds, seconds > 0 ? tokens / seconds : 0);
}

using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using YaPO.Llama.Evaluation.Reports;

namespace YaPO.Llama.Evaluation.Tuning;

/// <summary>What a search found. Everything but <see cref="Test"/> stems from the data that was chosen on, and is therefore flattering.</summary>
public sealed record TuneReport
{
    /// <summary>What the suite's values are.</summary>
    public required string Measure { get; init; }

    /// <summary>Whether they are shares of 1.</summary>
    public required bool IsShare { get; init; }

    /// <summary>Nats per token on neutral text that the chosen strength may spend.</summary>
    public required double KlBudget { get; init; }

    /// <summary>Validation items, and topics they belong to.</summary>
    public required int Items { get; init; }

    /// <summary>See <see cref="Items"/>.</summary>
    public required int Topics { get; init; }

    /// <summary>The unsteered model on validation.</summary>
    public required Interval Unsteered { get; init; }

    /// <summary>Every candidate.</summary>
    public required IReadOnlyList<CandidateReport> Candidates { get; init; }

    /// <summary>Name of the chosen candidate.</summary>
    public required string Chosen { get; init; }

    /// <summary>λ of the chosen candidate.</summary>
    public required double Strength { get; init; }

    /// <summary>Smallest and largest strength that keep at least half of the gain within the budget.</summary>
    public required double MinStrength { get; init; }

    /// <inheritdoc cref="MinStrength"/>
    public required double MaxStrength { get; init; }

    /// <summary>KL(π_0 ‖ π_λ) at the chosen strength, nats per token.</summary>
    public required double KlPerToken { get; init; }

    /// <summary>Validation knowledge of the unsteered model; null where none was given.</summary>
    public Interval? UnsteeredKnowledge { get; init; }

    /// <summary>The same at the chosen strength.</summary>
    public Interval? Knowledge { get; init; }

    /// <summary>The chosen vector and what it is compared with, on validation.</summary>
    public required IReadOnlyList<TuneRow> Validation { get; init; }

    /// <summary>The same on data that nothing was chosen on; null without such data.</summary>
    public IReadOnlyList<TuneRow>? Test { get; init; }

    /// <summary>In one sentence, whether prompting or a control wins.</summary>
    public required string Verdict { get; init; }

    /// <summary>What is missing, and why.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new FiniteNumbers() },
    };

    /// <summary>As JSON.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Json);
}

/// <summary>One vector of a search.</summary>
/// <param name="Name">Layer, positions and support in words.</param>
/// <param name="Layer">Steered block.</param>
/// <param name="Positions">Where it acts and was trained to.</param>
/// <param name="Support">Latents; 0 for a dense vector.</param>
/// <param name="LargestStrength">λ that spends the budget.</param>
/// <param name="SpendsBudget">False where no strength spends it, and the largest tried is given instead.</param>
/// <param name="Coarse">On a sample of validation.</param>
/// <param name="Fine">On all of it; empty where the candidate was left behind.</param>
public sealed record CandidateReport(
    string Name, int Layer, string Positions, int Support, double LargestStrength, bool SpendsBudget, IReadOnlyList<TunePoint> Coarse, IReadOnlyList<TunePoint> Fine);

/// <summary>A strength that was tried.</summary>
/// <param name="Strength">λ.</param>
/// <param name="Value">The suite's measure.</param>
/// <param name="KlPerToken">On neutral text; null in the coarse pass.</param>
public sealed record TunePoint(double Strength, Interval Value, double? KlPerToken = null);

/// <summary>One way of steering.</summary>
/// <param name="Name">For people.</param>
/// <param name="Kind">unsteered, prompt_only, vector or flattened.</param>
/// <param name="Strength">λ; null where there is none.</param>
/// <param name="Value">The suite's measure.</param>
/// <param name="VectorAdvantage">Paired difference vector − this.</param>
/// <param name="KlPerToken">On neutral text; null for a prompt.</param>
/// <param name="Ties">Items in which what counts ties with something else for the likeliest, and gets its share; null for none.</param>
public sealed record TuneRow(string Name, string Kind, double? Strength, Interval Value, Interval? VectorAdvantage, double? KlPerToken, int? Ties = null);

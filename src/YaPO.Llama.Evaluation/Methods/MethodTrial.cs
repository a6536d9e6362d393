using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Runs;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation.Methods;

/// <summary>What vectors are judged by.</summary>
/// <param name="Validation">Chooses strengths.</param>
/// <param name="Test">Measured once per vector.</param>
/// <param name="Knowledge">What steering should leave alone; null: not measured.</param>
/// <param name="ValidationKnowledge">What strengths must leave alone; null: not asked.</param>
/// <param name="Labelled">Questions whose every label is counted; empty: none.</param>
/// <param name="Neutral">Text that strengths must leave alone within the budget; null: no budget.</param>
/// <param name="KlBudget">Nats per token on it.</param>
public sealed record MethodSuites(ISuite Validation, ISuite Test, ISuite? Knowledge, ISuite? ValidationKnowledge, IReadOnlyList<MultipleChoiceItem> Labelled, IReadOnlyList<ReadText>? Neutral, double KlBudget);

/// <summary>A vector on its suites.</summary>
/// <param name="Strength">λ chosen on validation, by one rule for all.</param>
/// <param name="RelativeShift">Mean ‖Δh‖/‖h‖ there.</param>
/// <param name="KeepsBudgets">False where no strength keeps to the budgets, and the smallest was taken.</param>
/// <param name="Kl">Nats per token on neutral text; null without.</param>
/// <param name="Sensitivity">Validation over strengths.</param>
/// <param name="Test">Item by item.</param>
/// <param name="Knowledge">Item by item; null where not measured.</param>
/// <param name="Shares">Share of each label.</param>
public sealed record MethodOutcome(
    double Strength, double RelativeShift, bool KeepsBudgets, double? Kl, IReadOnlyList<SensitivityPoint> Sensitivity, IReadOnlyList<ItemOutcome> Test, IReadOnlyList<ItemOutcome>? Knowledge, IReadOnlyDictionary<string, double> Shares);

/// <summary>
/// Measures vectors of different methods on one axis: strengths are taken where mean ‖Δh‖/‖h‖ (after clipping) has given values, since λ means something else for each method.
/// </summary>
public sealed class MethodTrial
{
    /// <summary>The smallest ‖Δh‖/‖h‖ that strengths are taken at.</summary>
    internal const double LeastShift = 0.02;

    private static readonly double[] Shifts = [LeastShift, 0.04, 0.07, 0.11, 0.16, 0.24, 0.36, 0.55];
    private const int ShiftPrompts = 32;
    private const int KnowledgeSample = 64;

    private readonly SteeredScorer _scorer;
    private readonly MethodSuites _suites;
    private readonly MeasurementLog _log;
    private readonly Action<string>? _status;
    private readonly CancellationToken _cancellation;
    private readonly ISuite _validation;
    private readonly ShiftMeter _meter;
    private readonly double _norm;

    /// <summary>Reads the residuals that shifts are measured on.</summary>
    public MethodTrial(SteeredScorer scorer, int layer, MethodSuites suites, int validationItems, MeasurementLog log, Action<string>? status, CancellationToken cancellation = default)
    {
        (_scorer, _suites, _log, _status, _cancellation) = (scorer, suites, log, status, cancellation);
        _validation = suites.Validation.Sample(validationItems);
        var (rows, width) = (new List<float>(), scorer.Model.Info.ModelWidth);
        foreach (var prompt in Spread.Over(_validation.Prompts(scorer), ShiftPrompts))
        {
            rows.AddRange(scorer.Residuals(prompt, layer, Steering.None, cancellation).AsSpan(prompt[0] == scorer.Model.Info.BosToken ? width : 0));
        }

        _meter = new ShiftMeter([.. rows], width);
        _norm = rows.Chunk(width).Average(h => Math.Sqrt(h.Sum(x => (double)x * x)));
    }

    /// <summary>The model without a vector; words in the prompt where given.</summary>
    /// <param name="key">Names the measurements.</param>
    /// <param name="steering">Nothing, or words.</param>
    /// <param name="knowledge">Names those of knowledge, where several data sets share them; null: <paramref name="key"/>.</param>
    public MethodOutcome Plain(string key, Steering steering, string? knowledge = null) => new(
        0, 0, true, null, [new SensitivityPoint(0, 0, Mean($"{key}/validation", _validation, steering), Sampled($"{knowledge ?? key}/knowledge sample", steering))], Outcomes($"{key}/test", _suites.Test, steering),
        _suites.Knowledge is { } k ? Outcomes($"{knowledge ?? key}/knowledge", k, steering) : null, Shares($"{key}/labels", steering));

    /// <summary>One vector.</summary>
    public MethodOutcome Measure(string key, SubjectVector subject)
    {
        var vector = subject.Parts[0].Vector;
        var points = new List<(double Strength, double Relative, List<ItemOutcome> Outcomes)>();
        foreach (var shift in Shifts)
        {
            var strength = Known($"{key}/strength/{FormattableString.Invariant($"{shift}")}", () => Reach(vector, shift));
            if (strength is { } s)
            {
                points.Add((s, _meter.Measure(vector, s).Relative, Validation(key, subject, s)));
            }
        }

        if (points.Count == 0)
        {
            // It only removes what is hardly ever active: more strength changes nothing, and its own unit is as good as any.
            points.Add((1, _meter.Measure(vector, 1).Relative, Validation(key, subject, 1)));
        }

        double? Kl(double s) => _suites.Neutral is { } text ? Known(Key(key, "kl", s), () => TextMeter.KlPerToken(_scorer.Read(text, subject.At(s), _cancellation))) : null;
        bool Keeps(double s) => _suites.ValidationKnowledge is not { } kept
            || StrengthRule.KeepsKnowledge(Mean("unsteered/validation knowledge", kept, Steering.None), Mean(Key(key, "validation knowledge", s), kept, subject.At(s)));
        var (index, within) = StrengthRule.Choose([.. points.Select(p => p.Outcomes)], i => (Kl(points[i].Strength) is not { } spent || spent <= _suites.KlBudget) && Keeps(points[i].Strength), _validation.LowerIsBetter);
        var chosen = points[index];
        var steering = subject.At(chosen.Strength);
        return new MethodOutcome(
            chosen.Strength,
            chosen.Relative,
            within,
            Kl(chosen.Strength),
            [.. points.Select(p => new SensitivityPoint(p.Relative, p.Strength, Interval.Of(p.Outcomes).Value, Sampled(Key(key, "knowledge sample", p.Strength), subject.At(p.Strength))))],
            Outcomes($"{key}/test", _suites.Test, steering),
            _suites.Knowledge is { } k ? Outcomes($"{key}/knowledge", k, steering) : null,
            Shares($"{key}/labels", steering));
    }

    /// <summary>The strength that moves the stream so far; null for a vector that cannot.</summary>
    private double? Reach(Llama.Steering.SteeringVector vector, double shift)
    {
        try
        {
            return _meter.StrengthFor(vector, shift * _norm);
        }
        catch (YapoException)
        {
            return null; // it only removes what is active
        }
    }

    private List<ItemOutcome> Validation(string key, SubjectVector subject, double strength) =>
        Known(Key(key, "validation items", strength), () => Primary(_validation, _validation.Run(_scorer, subject.At(strength), _cancellation)).ConvertAll(o => o with { Text = null }));

    private List<ItemOutcome> Outcomes(string key, ISuite suite, Steering steering) => Known(key, () => suite.Run(_scorer, steering, _cancellation).Select(o => o with { Text = null }).ToList());

    private double Mean(string key, ISuite suite, Steering steering) => Known(key, () => Interval.Of(Primary(suite, suite.Run(_scorer, steering, _cancellation))).Value);

    private double? Sampled(string key, Steering steering) => _suites.Knowledge is { } suite ? Mean(key, suite.Sample(KnowledgeSample), steering) : null;

    private Dictionary<string, double> Shares(string key, Steering steering) => _suites.Labelled.Count == 0 ? [] : Known(key, () =>
    {
        var scores = _scorer.Score(_suites.Labelled, steering, _cancellation);
        return _suites.Labelled.SelectMany(i => i.Labels!).Distinct().Order(StringComparer.Ordinal)
            .ToDictionary(l => l, l => _suites.Labelled.Zip(scores, (item, s) => ChoiceResults.Credit(s, o => item.Labels![o] == l)).Average());
    });

    private T Known<T>(string key, Func<T> measure) => _log.Get(key, () =>
    {
        _cancellation.ThrowIfCancellationRequested();
        _status?.Invoke(key);
        return measure();
    });

    private static string Key(string key, string stage, double strength) => FormattableString.Invariant($"{key}/{stage}/{strength:R}");

    private static List<ItemOutcome> Primary(ISuite suite, IReadOnlyList<ItemOutcome> outcomes) => [.. outcomes.Where(o => o.Group == suite.PrimaryGroup)];
}

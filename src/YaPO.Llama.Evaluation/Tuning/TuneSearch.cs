using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Runs;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation.Tuning;

/// <summary>A vector that may be chosen.</summary>
/// <param name="Name">Unlike every other's.</param>
/// <param name="Subject">The vector.</param>
public sealed record TuneCandidate(string Name, SubjectVector Subject);

/// <summary>How thoroughly to search.</summary>
public sealed record TuneOptions
{
    /// <summary>Most nats per token on neutral text.</summary>
    public required double KlBudget { get; init; }

    /// <summary>Validation items of the coarse pass.</summary>
    public int CoarseItems { get; init; } = 96;

    /// <summary>Strengths of the coarse pass, as shares of the one that spends the budget.</summary>
    public IReadOnlyList<double> Coarse { get; init; } = [0.4, 0.7, 1];

    /// <summary>Strengths of the fine pass.</summary>
    public IReadOnlyList<double> Fine { get; init; } = [0.15, 0.25, 0.4, 0.55, 0.7, 0.85, 1];

    /// <summary>Candidates that enter the fine pass at most.</summary>
    public int Finalists { get; init; } = 3;

    /// <summary>What the chosen strength may cost at most <see cref="StrengthRule.KnowledgeBudget"/> of; null: not asked.</summary>
    public ISuite? Knowledge { get; init; }

    /// <summary>A prompt to compare with, see <see cref="Steering.Prompt"/>; null: none.</summary>
    public string? PromptOnly { get; init; }
}

/// <summary>
/// Chooses among vectors and strengths under a budget of KL(π_0 ‖ π_λ) on neutral text. For each candidate the strength that spends the budget is found by bisection; shares of it are
/// tried on a sample of the validation items, and for the best candidates on all of them. Chosen is the candidate with the highest value, at the strength that <see cref="StrengthRule"/>
/// takes. Deterministic; every measurement goes through the log, so that an interrupted search ends with the same result.
/// </summary>
public sealed class TuneSearch
{
    // Where no strength spends the budget. Vectors are trained at 1.
    private const double LargestTried = 4;

    private readonly SteeredScorer _scorer;
    private readonly KlSearch _kl;
    private readonly TuneOptions _options;
    private readonly MeasurementLog _log;
    private readonly CancellationToken _cancellation;
    private readonly Action<string>? _status;

    /// <summary>Prepares a search.</summary>
    /// <param name="scorer">The model.</param>
    /// <param name="neutral">Text that the vector is not about.</param>
    /// <param name="options">How thoroughly.</param>
    /// <param name="log">What is known already; keeps what is measured.</param>
    /// <param name="status">Told before each measurement.</param>
    /// <param name="cancellation">Stops.</param>
    public TuneSearch(SteeredScorer scorer, IReadOnlyList<ReadText> neutral, TuneOptions options, MeasurementLog log, Action<string>? status = null, CancellationToken cancellation = default)
    {
        (_scorer, _options, _log, _status, _cancellation) = (scorer, options, log, status, cancellation);
        _kl = new KlSearch(scorer, neutral);
    }

    /// <summary>Searches.</summary>
    /// <param name="candidates">At least one.</param>
    /// <param name="validation">Chooses.</param>
    /// <param name="test">Measured once, for the chosen vector only; null: none.</param>
    public TuneReport Run(IReadOnlyList<TuneCandidate> candidates, ISuite validation, ISuite? test)
    {
        ArgumentNullException.ThrowIfNull(candidates);
        var sample = validation.Sample(_options.CoarseItems);
        var sign = validation.LowerIsBetter ? -1 : 1;
        var coarse = candidates.Select(c =>
        {
            var arm = Arm.Of(c.Subject);
            var largest = Spend(c.Name, arm, _options.KlBudget);
            return (Candidate: c, Arm: arm, largest.Strength, largest.Spends, Points: _options.Coarse.Select(share => new TunePoint(share * largest.Strength, Coarse(c.Name, sample, arm, share * largest.Strength))).ToList());
        }).ToList();

        var leader = coarse.SelectMany(c => c.Points).MaxBy(p => sign * p.Value.Value)!.Value;
        var finalists = coarse
            .OrderByDescending(c => c.Points.Max(p => sign * p.Value.Value)).ThenBy(c => c.Candidate.Name, StringComparer.Ordinal)
            .Where(c => c.Points.Max(p => sign * p.Value.Value) >= (sign * leader.Value) - leader.StandardError)
            .Take(_options.Finalists).Select(c => c.Candidate.Name).ToHashSet();
        var reports = coarse.Select(c => new CandidateReport(
            c.Candidate.Name, c.Candidate.Subject.Parts[0].Vector.Layer, c.Candidate.Subject.Parts[0].Positions.ToString(), c.Candidate.Subject.Parts[0].Vector.K, c.Strength, c.Spends, c.Points,
            finalists.Contains(c.Candidate.Name)
                ? [.. _options.Fine.Select(share => share * c.Strength).Select(s => new TunePoint(s, Interval.Of(Fine(c.Candidate.Name, validation, c.Arm, s)), Kl(c.Candidate.Name, c.Arm, s)))]
                : [])).ToList();

        var (best, point, keeps) = reports.Where(r => r.Fine.Count > 0)
            .Select(r =>
            {
                var arm = coarse.Single(c => c.Candidate.Name == r.Name).Arm;
                var (index, allowed) = StrengthRule.Choose([.. r.Fine.Select(p => Fine(r.Name, validation, arm, p.Strength))], i => r.Fine[i].KlPerToken <= _options.KlBudget * 1.05 && KeepsKnowledge(r.Name, arm, r.Fine[i].Strength), validation.LowerIsBetter);
                return (Report: r, Point: r.Fine[index], Keeps: allowed);
            })
            .OrderByDescending(x => x.Keeps).ThenByDescending(x => sign * x.Point.Value.Value).ThenBy(x => x.Point.KlPerToken).ThenBy(x => x.Report.Name, StringComparer.Ordinal).First();
        var chosen = coarse.Single(c => c.Candidate.Name == best.Name);
        var unsteered = Interval.Of(Outcomes("validation", "unsteered", validation, Steering.None));
        var (low, high) = SafeRange(best, point, unsteered, sign);
        var rows = Rows("validation", validation, chosen.Candidate, chosen.Arm, point);
        var tested = test is null ? null : Rows("test", test, chosen.Candidate, chosen.Arm, point);
        return new TuneReport
        {
            Measure = validation.Measure,
            IsShare = validation.IsShare,
            KlBudget = _options.KlBudget,
            Items = unsteered.Count,
            Topics = validation.Topics,
            Unsteered = unsteered,
            Candidates = reports,
            Chosen = best.Name,
            Strength = point.Strength,
            MinStrength = low,
            MaxStrength = high,
            KlPerToken = point.KlPerToken!.Value,
            UnsteeredKnowledge = _options.Knowledge is null ? null : Knowledge("knowledge/unsteered", Steering.None),
            Knowledge = _options.Knowledge is null ? null : Knowledge(Key("knowledge", best.Name, point.Strength), chosen.Arm.At(point.Strength)),
            Validation = rows,
            Test = tested,
            Verdict = TuneVerdict.Of(tested ?? rows, tested is not null),
            Notes = Notes(validation, test, reports, keeps, [.. rows, .. tested ?? []]),
        };
    }

    private List<TuneRow> Rows(string stage, ISuite suite, TuneCandidate candidate, Arm arm, TunePoint point)
    {
        var vector = Outcomes(stage, candidate.Name, suite, arm.At(point.Strength));
        TuneRow Row(string name, string kind, double? strength, IReadOnlyList<ItemOutcome> outcomes, double? kl) => new(
            name, kind, strength, Interval.Of(outcomes),
            kind == "vector" ? null : suite.LowerIsBetter ? Interval.Difference(outcomes, vector) : Interval.Difference(vector, outcomes), kl, Ties.Count(outcomes));
        var rows = new List<TuneRow> { Row("unsteered", "unsteered", null, Outcomes(stage, "unsteered", suite, Steering.None), 0) };
        if (_options.PromptOnly is { } words)
        {
            rows.Add(Row("prompt only", "prompt_only", null, Outcomes(stage, "prompt", suite, Steering.Words(words)), null));
        }

        rows.Add(Row(candidate.Name, "vector", point.Strength, vector, point.KlPerToken));
        if (candidate.Subject.Parts[0].Vector.Kind == Llama.Steering.VectorKind.Sparse)
        {
            var flattened = Arm.Flattened(candidate.Subject);
            var same = Spend("flattened", flattened, point.KlPerToken!.Value);
            rows.Add(Row("flattened, at the same KL", "flattened", same.Strength, Outcomes(stage, "flattened", suite, flattened.At(same.Strength)), Kl("flattened", flattened, same.Strength)));
        }

        return rows;
    }

    /// <summary>The neighbouring strengths, tried ones, that keep half of the gain and the budget.</summary>
    private (double Low, double High) SafeRange(CandidateReport best, TunePoint chosen, Interval unsteered, int sign)
    {
        var half = unsteered.Value + ((chosen.Value.Value - unsteered.Value) / 2);
        var kept = best.Fine.Select(p => sign * p.Value.Value >= sign * half && p.KlPerToken <= _options.KlBudget * 1.05).ToList();
        var at = best.Fine.ToList().FindIndex(p => p.Strength.Equals(chosen.Strength));
        var (low, high) = (at, at);
        while (low > 0 && kept[low - 1])
        {
            low--;
        }

        while (high + 1 < kept.Count && kept[high + 1])
        {
            high++;
        }

        return (best.Fine[low].Strength, best.Fine[high].Strength);
    }

    private (double Strength, bool Spends) Spend(string name, Arm arm, double budget)
    {
        var found = _log.Get<double[]>(Key("budget", name, budget), () =>
        {
            Status($"{name}: strength that spends {budget:g3} nats per token");
            return _kl.StrengthFor(arm, budget, 1, _cancellation) is { } spent ? [spent.Strength] : [];
        });
        return found.Length > 0 ? (found[0], true) : (LargestTried, false);
    }

    private bool KeepsKnowledge(string name, Arm arm, double strength) =>
        _options.Knowledge is null || StrengthRule.KeepsKnowledge(Knowledge("knowledge/unsteered", Steering.None).Value, Knowledge(Key("knowledge", name, strength), arm.At(strength)).Value);

    private Interval Knowledge(string key, Steering steering) => _log.Get(key, () =>
    {
        Status($"{key}");
        return Interval.Of(Primary(_options.Knowledge!, _options.Knowledge!.Run(_scorer, steering, _cancellation)));
    });

    private double Kl(string name, Arm arm, double strength) => _log.Get(Key("kl", name, strength), () =>
    {
        Status($"{name}: KL at strength {strength:0.###}");
        return _kl.At(arm, strength, _cancellation);
    });

    private Interval Coarse(string name, ISuite sample, Arm arm, double strength) => _log.Get(Key("coarse", name, strength), () =>
    {
        Status($"{name}: coarse pass at strength {strength:0.###}");
        return Interval.Of(Primary(sample, sample.Run(_scorer, arm.At(strength), _cancellation)));
    });

    private List<ItemOutcome> Fine(string name, ISuite suite, Arm arm, double strength) => _log.Get(Key("fine items", name, strength), () =>
    {
        Status($"{name}: fine pass at strength {strength:0.###}");
        return Primary(suite, suite.Run(_scorer, arm.At(strength), _cancellation));
    });

    private List<ItemOutcome> Outcomes(string stage, string name, ISuite suite, Steering steering) => _log.Get($"{stage}/{name}", () =>
    {
        Status($"{stage}: {name}");
        return Primary(suite, suite.Run(_scorer, steering, _cancellation));
    });

    private List<string> Notes(ISuite validation, ISuite? test, List<CandidateReport> reports, bool keeps, List<TuneRow> rows)
    {
        var notes = new List<string>();
        if (!keeps)
        {
            notes.Add("no strength that was tried keeps to the budgets; the smallest was taken");
        }

        if (_options.Knowledge is null)
        {
            notes.Add("the strength was chosen without regard to knowledge; give questions that steering should leave alone with --validation-knowledge");
        }

        if (test is null)
        {
            notes.Add("no test data: every figure is from the data that was chosen on and flatters; give data of other topics with --test");
        }

        if (Interval.Doubt((test ?? validation).Topics) is { } doubt)
        {
            notes.Add(doubt);
        }

        if (_options.PromptOnly is null)
        {
            notes.Add("no prompt to compare with: prompting often does as well or better; give one with --prompt-only");
        }

        notes.AddRange(reports.Where(r => !r.SpendsBudget).Select(r => FormattableString.Invariant($"{r.Name}: no strength spends the budget of {_options.KlBudget:g3} nats per token on this text; tried up to {LargestTried}")));
        notes.AddRange(rows.Select(r => Ties.Note(r.Name, r.Ties, r.Value.Count)).OfType<string>());
        return notes;
    }

    private void Status(FormattableString text)
    {
        _cancellation.ThrowIfCancellationRequested();
        _status?.Invoke(FormattableString.Invariant(text));
    }

    private static string Key(string stage, string name, double strength) => FormattableString.Invariant($"{stage}/{name}/{strength:R}");

    private static List<ItemOutcome> Primary(ISuite suite, IReadOnlyList<ItemOutcome> outcomes) => [.. outcomes.Where(o => o.Group == suite.PrimaryGroup).Select(o => o with { Text = null })];
}

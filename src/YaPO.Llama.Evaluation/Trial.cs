using System.Diagnostics;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Evaluation;

/// <summary>
/// Runs a suite under a vector and everything it must be compared with: unsteered, a prompt, strength 0, the flattened direction, the flipped sign, random directions and latents, and
/// whatever arms the caller adds.
/// </summary>
public sealed class Trial : IDisposable
{
    // Random controls whose mean stands in a gain–KL curve.
    private const int CurveControls = 3;

    private readonly LlamaModel _model;
    private readonly TrialOptions _options;
    private readonly SteeredScorer _scorer;
    private readonly Action<TrialProgress>? _progress;
    private readonly Stopwatch _watch = new();
    private readonly KlSearch? _kl;
    private long _done;
    private long _total;
    private IReadOnlyList<ItemOutcome>? _refusedUnsteered;

    /// <summary>Prepares trials on a model, which stays the caller's.</summary>
    public Trial(LlamaModel model, TrialOptions options, ScoringOptions? scoring = null, Action<TrialProgress>? progress = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_model, _options, _progress, _scorer) = (model, options, progress, new SteeredScorer(model, scoring));
        _kl = options.Neutral is { } load ? new KlSearch(_scorer, load(_scorer)) : null;
    }

    /// <summary>Tokens and time of everything measured so far.</summary>
    public Throughput Throughput => Throughput.Of(_scorer.EvaluatedTokens, _watch.Elapsed.TotalSeconds);

    /// <summary>The scorer, to encode texts with.</summary>
    public SteeredScorer Scorer => _scorer;

    /// <summary>One vector on one suite.</summary>
    /// <param name="subject">The vector.</param>
    /// <param name="test">Reported once.</param>
    /// <param name="validation">Chooses the strength of every arm; null: the subject's strength, to which every control is matched.</param>
    /// <param name="label">What counts, for the report.</param>
    /// <param name="cancellation">Stops.</param>
    /// <exception cref="YapoException">Strength 0 is not the unsteered model bit for bit, or something does not fit the model.</exception>
    public VectorReport Run(SubjectVector subject, ISuite test, ISuite? validation = null, string? label = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(subject);
        ArgumentNullException.ThrowIfNull(test);
        _watch.Start();
        var shifts = subject.Parts.Select(p => Shifts(p, test, cancellation)).ToList();
        List<Arm> main = [Arm.Of(subject), Arm.Flattened(subject), Arm.SignFlip(subject), .. _options.MoreArms(subject, shifts)];
        var random = Randoms(subject, shifts, cancellation);
        var (sample, validationSample) = (test.Sample(_options.ControlItems), validation?.Sample(_options.ControlItems));
        Plan(test, validation, sample, validationSample, main.Count, random.Count);

        var unsteered = Measure(test, Steering.None, "unsteered", cancellation);
        RequireZeroIsUnsteered(subject, unsteered, Measure(test, subject.At(0), "strength 0", cancellation));
        var choice = Choice(validation, _options.ValidationKnowledge, cancellation);
        var results = main.Select(arm => Measure(arm, subject, test, choice, cancellation)).ToList();
        var vector = results[0];
        var rows = new List<ReportRow> { Row("unsteered", "unsteered", test, unsteered, null, null, Steering.None, cancellation) };
        if (_options.PromptOnly is { } words)
        {
            var prompted = Measure(test, Steering.Words(words), "prompt only", cancellation);
            rows.Add(Row("prompt only", "prompt_only", test, prompted, unsteered, vector.Outcomes, Steering.Words(words), cancellation));
        }

        foreach (var result in results)
        {
            var advantage = result.Arm.Kind == ArmKind.Vector ? null : vector.Outcomes;
            var shift = ShiftOf(result, subject, shifts);
            rows.Add(Row(result.Arm.Name, Verdicts.KindName(result.Arm.Kind), test, result.Outcomes, unsteered, advantage, result.Arm.At(result.Strength), cancellation) with
            {
                Strength = result.Strength,
                Shift = shift?.Mean,
                RelativeShift = shift?.Relative,
                KlPerToken = _kl?.At(result.Arm, result.Strength, cancellation),
            });
        }

        var report = new VectorReport
        {
            Vector = subject.Name,
            Label = label,
            Layers = [.. subject.Parts.Select(p => p.Vector.Layer)],
            Support = subject.Parts.Sum(p => p.Vector.K),
            NegativeMass = subject.Parts.Average(p => p.Vector.NegativeMass),
            Strength = vector.Strength,
            StrengthChosen = validation is not null,
            StrengthKeepsBudgets = vector.KeepsBudgets,
            Validation = vector.Tried,
            ZeroIsUnsteered = true,
            Rows = rows,
            Random = Random(subject, random, sample, validationSample, cancellation),
            EqualKl = Curves(subject, main, random, sample, cancellation),
            Verdict = "",
        };
        _watch.Stop();
        return report with { Verdict = Verdicts.Of(report, test.Measure, test.IsShare, test.LowerIsBetter) };
    }

    /// <summary>Only the model as it is.</summary>
    public ReportRow Unsteered(ISuite test, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(test);
        _watch.Start();
        _total += test.Count + (_options.Knowledge?.Count ?? 0) + (_options.Refusals?.Count ?? 0);
        var row = Row("unsteered", "unsteered", test, Measure(test, Steering.None, "unsteered", cancellation), null, null, Steering.None, cancellation);
        _watch.Stop();
        return row;
    }

    /// <summary>The value of several suites under nothing and under each vector: a vector × label matrix.</summary>
    public IReadOnlyList<LabelMatrixRow> Shares(IReadOnlyList<SubjectVector> subjects, IReadOnlyList<ISuite> suites, CancellationToken cancellation = default)
    {
        _watch.Start();
        _total += (subjects.Count + 1L) * suites.Sum(s => s.Count);
        var rows = new List<LabelMatrixRow>();
        foreach (var (name, steering) in subjects.Select(s => (s.Name, s.At(s.Strength))).Prepend(("unsteered", Steering.None)))
        {
            rows.Add(new LabelMatrixRow(name, [.. suites.Select(suite => Primary(suite, Measure(suite, steering, "matrix", cancellation)).Average(o => o.Value))]));
        }

        _watch.Stop();
        return rows;
    }

    /// <summary>Releases the contexts.</summary>
    public void Dispose() => _scorer.Dispose();

    private sealed record ArmResult(Arm Arm, double Strength, bool? KeepsBudgets, IReadOnlyList<TriedStrength>? Tried, IReadOnlyList<ItemOutcome> Outcomes);

    /// <summary>Chooses an arm's strength on validation, where there is one, and measures it on test.</summary>
    private ArmResult Measure(Arm arm, SubjectVector subject, ISuite test, StrengthChoice? choice, CancellationToken cancellation)
    {
        if (choice is null)
        {
            return new ArmResult(arm, subject.Strength, null, null, Measure(test, arm.At(subject.Strength), arm.Name, cancellation));
        }

        var (strength, keeps, tried) = choice.For(arm, everything: arm.Kind == ArmKind.Vector);
        return new ArmResult(arm, strength, keeps, tried, Measure(test, arm.At(strength), arm.Name, cancellation));
    }

    private StrengthChoice? Choice(ISuite? validation, ISuite? knowledge, CancellationToken cancellation) => validation is null ? null : new StrengthChoice(
        (suite, steering, what) => Measure(suite, steering, what, cancellation), validation, knowledge, _options.Strengths,
        _kl is null ? null : (arm, strength) => _kl.At(arm, strength, cancellation), _options.KlBudget);

    private IReadOnlyList<ItemOutcome> Measure(ISuite suite, Steering steering, string what, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        _scorer.Progress = part => _progress?.Invoke(new TrialProgress(_done + (long)(part * suite.Count), _total, what, Throughput.TokensPerSecond));
        var outcomes = suite.Run(_scorer, steering, cancellation);
        _scorer.Progress = null;
        _done += suite.Count;
        _progress?.Invoke(new TrialProgress(_done, _total, what, Throughput.TokensPerSecond));
        return outcomes;
    }

    private List<RandomControls> Random(SubjectVector subject, List<Arm> arms, ISuite sample, ISuite? validation, CancellationToken cancellation)
    {
        if (arms.Count == 0)
        {
            return [];
        }

        double Value(ArmResult result) => Interval.Of(result.Outcomes).Value;
        var choice = Choice(validation, _options.ValidationKnowledge?.Sample(_options.ControlItems), cancellation);
        var own = Value(Measure(Arm.Of(subject), subject, sample, choice, cancellation));
        var results = arms.Select(arm => Measure(arm, subject, sample, choice, cancellation)).Select(r => (r.Arm.Kind, r.Strength, Value: Value(r))).ToList();
        return
        [
            .. results.GroupBy(r => r.Kind).Select(kind =>
                RandomControls.Of(Verdicts.KindName(kind.Key), sample.Count, own, [.. kind.Select(r => r.Value)], [.. kind.Select(r => r.Strength)], sample.LowerIsBetter)),
        ];
    }

    private List<Arm> Randoms(SubjectVector subject, List<ShiftMeter> shifts, CancellationToken cancellation)
    {
        var arms = Enumerable.Range(0, _options.Controls).Select(i => RandomArms.Direction(subject, shifts, _options.Seed, i)).ToList();
        if (_options.Sae is { } sae && _options.Controls > 0 && subject.Parts is [{ Vector.Kind: VectorKind.Sparse }])
        {
            var rates = RandomArms.FiringRates(sae, shifts[0], cancellation);
            arms.AddRange(Enumerable.Range(0, _options.Controls).Select(i => RandomArms.Latents(subject, sae, rates, shifts, _options.Seed, i)));
        }

        return arms;
    }

    /// <summary>Gain over unsteered against KL on neutral text, on the sample of items that random controls are measured on.</summary>
    private List<EqualKlCurve>? Curves(SubjectVector subject, List<Arm> main, List<Arm> random, ISuite sample, CancellationToken cancellation)
    {
        if (_kl is null || _options.KlBudgets.Count == 0)
        {
            return null;
        }

        var unsteered = Interval.Of(Measure(sample, Steering.None, "unsteered", cancellation)).Value;
        var groups = main.Where(a => a.Kind != ArmKind.SignFlip).Select(a => (a.Name, a.Kind, Arms: new List<Arm> { a }))
            .Concat(random.GroupBy(a => a.Kind).Select(g => (Name: $"{Verdicts.KindName(g.Key).Replace('_', ' ')} (mean of {Math.Min(CurveControls, g.Count())})", Kind: g.Key, Arms: g.Take(CurveControls).ToList())));
        var curves = new List<EqualKlCurve>();
        foreach (var (name, kind, arms) in groups)
        {
            var points = new List<EqualKlPoint>();
            foreach (var budget in _options.KlBudgets)
            {
                var spent = arms.Select(arm => (Arm: arm, Found: _kl.StrengthFor(arm, budget, subject.Strength, cancellation))).Where(x => x.Found is not null).Select(x => (x.Arm, Found: x.Found!.Value)).ToList();
                if (spent.Count == arms.Count)
                {
                    var value = spent.Average(x => Interval.Of(Measure(sample, x.Arm.At(x.Found.Strength), name, cancellation)).Value);
                    points.Add(new EqualKlPoint(budget, spent.Average(x => x.Found.Strength), spent.Average(x => x.Found.Kl), value, value - unsteered));
                }
            }

            curves.Add(new EqualKlCurve(name, Verdicts.KindName(kind), points));
        }

        return curves;
    }

    /// <summary>Residuals of the unsteered model at the tokens of the items' prompts, BOS left out.</summary>
    private ShiftMeter Shifts(SubjectPart part, ISuite suite, CancellationToken cancellation)
    {
        var rows = new List<float>();
        foreach (var prompt in Spread.Over(suite.Prompts(_scorer), _options.ShiftPrompts))
        {
            var residuals = _scorer.Residuals(prompt, part.Vector.Layer, Steering.None, cancellation);
            rows.AddRange(residuals.AsSpan(prompt[0] == _model.Info.BosToken ? _model.Info.ModelWidth : 0));
        }

        return new ShiftMeter([.. rows], _model.Info.ModelWidth, part.Sae);
    }

    private static Shift? ShiftOf(ArmResult result, SubjectVector subject, List<ShiftMeter> shifts)
    {
        if (subject.Parts is not [var part])
        {
            return null;
        }

        var strength = result.Strength * part.Share;
        return result.Arm.Kind switch
        {
            ArmKind.SignFlip => shifts[0].Measure(part.Vector, -strength),
            ArmKind.Flattened => shifts[0].Measure(VectorBuilder.Dense(part.Vector.Flatten(), part.Vector.Layer, "flattened"), strength),
            _ => shifts[0].Measure(part.Vector, strength), // the vector, or matched to it
        };
    }

    private ReportRow Row(
        string name, string kind, ISuite suite, IReadOnlyList<ItemOutcome> outcomes, IReadOnlyList<ItemOutcome>? unsteered, IReadOnlyList<ItemOutcome>? vector, Steering steering,
        CancellationToken cancellation)
    {
        var primary = Primary(suite, outcomes);
        var details = Details(primary);
        var before = unsteered is null ? [] : Details(Primary(suite, unsteered));
        var value = Interval.Of(primary);
        return new ReportRow
        {
            Name = name,
            Kind = kind,
            Value = value,
            Ties = Ties.Count(primary),
            Perplexity = suite is PerplexitySuite ? new Interval(Math.Exp(value.Value), Math.Exp(value.Low), Math.Exp(value.High), value.Count) : null,
            Gain = unsteered is null ? null : Interval.Difference(primary, Primary(suite, unsteered)),
            VectorAdvantage = vector is null ? null : suite.LowerIsBetter ? Interval.Difference(primary, Primary(suite, vector)) : Interval.Difference(Primary(suite, vector), primary),
            Detail = details.Count == 0 ? null : Interval.Of(details).Value,
            DetailGain = details.Count == 0 || details.Count != before.Count ? null : Interval.Difference(details, before),
            Localization = Localizations.Of(outcomes),
            Knowledge = _options.Knowledge is { } knowledge ? Interval.Of(Primary(knowledge, Measure(knowledge, steering, "knowledge", cancellation))) : null,
            Refusals = Refusals(outcomes, unsteered, steering, cancellation),
        };
    }

    /// <summary>Of the suite itself where it is about refusals, else of the prompts beside it.</summary>
    private RefusalRates? Refusals(IReadOnlyList<ItemOutcome> outcomes, IReadOnlyList<ItemOutcome>? unsteered, Steering steering, CancellationToken cancellation)
    {
        if (_options.Refusals is not { } beside)
        {
            return RefusalRates.Of(outcomes, unsteered);
        }

        var measured = Measure(beside, steering, "refusals", cancellation);
        _refusedUnsteered ??= measured; // the unsteered row is the first
        return RefusalRates.Of(measured, unsteered is null ? null : _refusedUnsteered);
    }

    private static List<ItemOutcome> Details(IEnumerable<ItemOutcome> outcomes) => [.. outcomes.Where(o => o.Detail is not null).Select(o => o with { Value = o.Detail!.Value })];

    private static List<ItemOutcome> Primary(ISuite suite, IReadOnlyList<ItemOutcome> outcomes) => [.. outcomes.Where(o => o.Group == suite.PrimaryGroup)];

    private static void RequireZeroIsUnsteered(SubjectVector subject, IReadOnlyList<ItemOutcome> unsteered, IReadOnlyList<ItemOutcome> zero)
    {
        var differs = unsteered.Zip(zero).FirstOrDefault(pair => pair.First != pair.Second);
        if (differs.First is not null)
        {
            throw new YapoException(
                YapoErrorKind.Failed,
                $"{subject.Name} at strength 0 is not the unsteered model: {differs.First.Id} gives {differs.Second.Value:R} ({differs.Second.Detail:R}) instead of {differs.First.Value:R} ({differs.First.Detail:R}). This is a defect of yapo-llama");
        }
    }

    private void Plan(ISuite test, ISuite? validation, ISuite sample, ISuite? validationSample, int main, int random)
    {
        long grid = validation is null ? 0 : _options.Strengths.Count;
        var curves = _kl is null || _options.KlBudgets.Count == 0 ? 0 : 1 + (_options.KlBudgets.Count * (main - 1L + (random == 0 ? 0 : CurveControls)));
        var prompt = _options.PromptOnly is null ? 0 : 1;
        _total += (main + 2L + prompt) * test.Count
            + (main * grid * (validation?.Count ?? 0))
            + ((main + 1L + prompt) * ((_options.Knowledge?.Count ?? 0) + (_options.Refusals?.Count ?? 0)))
            + (random == 0 ? 0 : (random + 1L) * (sample.Count + (grid * (validationSample?.Count ?? 0))))
            + (grid == 0 ? 0 : (_options.ValidationKnowledge?.Count ?? 0) * (1 + grid + (2 * (main - 1L)))) // about two askings decide
            + (grid == 0 || random == 0 ? 0 : Math.Min(_options.ControlItems, _options.ValidationKnowledge?.Count ?? 0) * (1 + grid + (2L * random)))
            + (curves * sample.Count);
    }
}

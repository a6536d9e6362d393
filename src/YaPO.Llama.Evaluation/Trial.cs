using System.Collections.Concurrent;
using System.Diagnostics;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Evaluation;

/// <summary>What is measured beside the vector.</summary>
public sealed record TrialOptions
{
    /// <summary>Chooses the strength of every arm, by one rule: the smallest within one standard error of the best. Null: every arm is matched to the given strength.</summary>
    public ISuite? Validation { get; init; }

    /// <summary>What steering should leave alone, measured for the rows that are no mere repetition.</summary>
    public ISuite? Knowledge { get; init; }

    /// <summary>Strengths to choose among, in the vector's units.</summary>
    public IReadOnlyList<double> Strengths { get; init; } = [];

    /// <summary>The prompt to compare with, see <see cref="Steering.Prompt"/>.</summary>
    public string? PromptOnly { get; init; }

    /// <summary>Random controls of each kind.</summary>
    public int Controls { get; init; } = 19;

    /// <summary>Items of test and of validation that each random control is measured on.</summary>
    public int ControlItems { get; init; } = 128;

    /// <summary>Seed of the random controls.</summary>
    public ulong Seed { get; init; }

    /// <summary>Where random latents come from.</summary>
    public SaeFile? Sae { get; init; }

    /// <summary>More arms: trained controls.</summary>
    public Func<SubjectVector, IReadOnlyList<ShiftMeter>, IReadOnlyList<Arm>> MoreArms { get; init; } = (_, _) => [];

    /// <summary>Questions at which residuals are read to measure ‖Δh‖.</summary>
    public int ShiftQuestions { get; init; } = 64;

    /// <summary>Evaluations that run side by side, each with a context of its own.</summary>
    public int Workers { get; init; } = 1;
}

/// <summary>How far a trial is.</summary>
/// <param name="Done">Items measured.</param>
/// <param name="Total">Items to measure.</param>
/// <param name="What">The arm that was measured last.</param>
/// <param name="TokensPerSecond">So far.</param>
public sealed record TrialProgress(long Done, long Total, string What, double TokensPerSecond);

/// <summary>Runs a suite under a vector and everything it must be compared with.</summary>
public sealed class Trial : IDisposable
{
    private readonly LlamaModel _model;
    private readonly TrialOptions _options;
    private readonly ScoringOptions _scoring;
    private readonly Action<TrialProgress>? _progress;
    private readonly ConcurrentBag<SteeredScorer> _idle = [];
    private readonly ConcurrentBag<SteeredScorer> _all = [];
    private readonly Stopwatch _watch = new();
    private long _done;
    private long _total;

    /// <summary>Prepares trials on a model, which stays the caller's.</summary>
    public Trial(LlamaModel model, TrialOptions options, ScoringOptions? scoring = null, Action<TrialProgress>? progress = null) =>
        (_model, _options, _scoring, _progress) = (model, options, scoring ?? new ScoringOptions(), progress);

    /// <summary>Tokens and time of everything measured so far.</summary>
    public Throughput Throughput
    {
        get
        {
            var tokens = _all.Sum(s => s.EvaluatedTokens);
            var seconds = _watch.Elapsed.TotalSeconds;
            return new Throughput(tokens, seconds, seconds > 0 ? tokens / seconds : 0);
        }
    }

    /// <summary>One vector on one suite.</summary>
    /// <exception cref="YapoException">Strength 0 is not the unsteered model bit for bit, or something does not fit the model.</exception>
    public VectorReport Run(SubjectVector subject, ISuite test, string? label = null, CancellationToken cancellation = default)
    {
        _watch.Start();
        var main = new List<Arm> { Arm.Of(subject), Arm.Flattened(subject), Arm.SignFlip(subject) };
        var shifts = subject.Parts.Select(p => Shifts(p.Vector.Layer, test, cancellation)).ToList();
        main.AddRange(_options.MoreArms(subject, shifts));
        var sample = test.Sample(_options.ControlItems);
        var random = Randoms(subject, shifts, cancellation);
        Plan(test, sample, main.Count, random.Count);

        var unsteered = On(s => Measure(s, test, Steering.None, "unsteered", cancellation));
        var knowledge = Knowledge(Steering.None, cancellation);
        RequireZeroIsUnsteered(subject, unsteered, On(s => Measure(s, test, subject.At(0), "strength 0", cancellation)));
        var rows = new List<ReportRow> { Row("unsteered", "unsteered", unsteered, null, null, test) with { Knowledge = knowledge } };
        var prompted = _options.PromptOnly is null ? null : On(s => Measure(s, test, Steering.Words(_options.PromptOnly), "prompt only", cancellation));

        var measured = Map(main, (scorer, arm) => Measure(scorer, arm, subject, test, _options.Validation, cancellation), cancellation);
        var vector = measured[0];
        if (prompted is not null)
        {
            rows.Add(Row("prompt only", "prompt_only", prompted, unsteered, vector.Outcomes, test) with { Knowledge = Knowledge(Steering.Words(_options.PromptOnly!), cancellation) });
        }

        foreach (var result in measured)
        {
            var isVector = result.Arm.Kind == ArmKind.Vector;
            var steering = result.Arm.At(result.Strength);
            var shift = ShiftOf(result.Arm, result.Strength, subject, shifts);
            rows.Add(Row(result.Arm.Name, Verdicts.KindName(result.Arm.Kind), result.Outcomes, unsteered, isVector ? null : vector.Outcomes, test) with
            {
                Strength = result.Strength,
                Shift = shift?.Mean,
                RelativeShift = shift?.Relative,
                Knowledge = Knowledge(steering, cancellation),
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
            StrengthChosen = _options.Validation is not null,
            Validation = vector.Tried,
            ZeroIsUnsteered = true,
            Rows = rows,
            Random = Random(subject, sample, random, test.LowerIsBetter, cancellation),
            Verdict = "",
        };
        _watch.Stop();
        return report with { Verdict = Verdicts.Of(report, test.Measure, test.IsShare, test.LowerIsBetter) };
    }

    /// <summary>Only the model as it is.</summary>
    public ReportRow Unsteered(ISuite test, CancellationToken cancellation = default)
    {
        _watch.Start();
        _total += test.Count + (_options.Knowledge?.Count ?? 0);
        var row = Row("unsteered", "unsteered", On(s => Measure(s, test, Steering.None, "unsteered", cancellation)), null, null, test) with { Knowledge = Knowledge(Steering.None, cancellation) };
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
            rows.Add(new LabelMatrixRow(name, [.. suites.Select(suite => Primary(suite, On(s => Measure(s, suite, steering, "matrix", cancellation))).Average(o => o.Value))]));
        }

        _watch.Stop();
        return rows;
    }

    /// <summary>Releases the contexts.</summary>
    public void Dispose()
    {
        foreach (var scorer in _all)
        {
            scorer.Dispose();
        }
    }

    private sealed record ArmResult(Arm Arm, double Strength, IReadOnlyList<TriedStrength>? Tried, IReadOnlyList<ItemOutcome> Outcomes);

    /// <summary>Chooses an arm's strength on validation, where there is one, and measures it on test.</summary>
    private ArmResult Measure(SteeredScorer scorer, Arm arm, SubjectVector subject, ISuite test, ISuite? validation, CancellationToken cancellation)
    {
        if (validation is null)
        {
            return new ArmResult(arm, subject.Strength, null, Measure(scorer, test, arm.At(subject.Strength), arm.Name, cancellation));
        }

        var tried = new List<TriedStrength>();
        var values = new List<Interval>();
        foreach (var strength in _options.Strengths.OrderBy(Math.Abs))
        {
            values.Add(Interval.Of(Primary(validation, Measure(scorer, validation, arm.At(strength), arm.Name, cancellation))));
            tried.Add(new TriedStrength(strength, values[^1].Value));
        }

        // More strength that gains nothing measurable only costs: the smallest within one standard error of the best.
        var sign = validation.LowerIsBetter ? -1 : 1;
        var best = values.MaxBy(v => sign * v.Value)!;
        var chosen = tried[values.FindIndex(v => sign * v.Value >= (sign * best.Value) - best.StandardError)].Strength;
        return new ArmResult(arm, chosen, tried, Measure(scorer, test, arm.At(chosen), arm.Name, cancellation));
    }

    private IReadOnlyList<ItemOutcome> Measure(SteeredScorer scorer, ISuite suite, Steering steering, string what, CancellationToken cancellation)
    {
        var outcomes = suite.Run(scorer, steering, cancellation);
        _progress?.Invoke(new TrialProgress(Interlocked.Add(ref _done, suite.Count), _total, what, Throughput.TokensPerSecond));
        return outcomes;
    }

    private List<RandomControls> Random(SubjectVector subject, ISuite sample, List<Arm> arms, bool lowerIsBetter, CancellationToken cancellation)
    {
        if (arms.Count == 0)
        {
            return [];
        }

        var validation = _options.Validation?.Sample(_options.ControlItems);
        var results = Map([Arm.Of(subject), .. arms], (scorer, arm) =>
        {
            var result = Measure(scorer, arm, subject, sample, validation, cancellation);
            return (arm.Kind, result.Strength, Value: result.Outcomes.Average(o => o.Value));
        }, cancellation);
        var own = results[0].Value;
        return
        [
            .. results.Skip(1).GroupBy(r => r.Kind).Select(kind =>
            {
                var values = kind.Select(r => r.Value).ToList();
                var asGood = values.Count(v => lowerIsBetter ? v <= own : v >= own);
                return new RandomControls(
                    Verdicts.KindName(kind.Key), values.Count, sample.Count, own, values.Average(), lowerIsBetter ? values.Min() : values.Max(),
                    (1 + asGood) / (1.0 + values.Count), values, [.. kind.Select(r => r.Strength)]);
            }),
        ];
    }

    private List<Arm> Randoms(SubjectVector subject, List<ShiftMeter> shifts, CancellationToken cancellation)
    {
        var arms = Enumerable.Range(0, _options.Controls).Select(i => RandomArms.Direction(subject, shifts, _options.Seed, i)).ToList();
        if (_options.Sae is { } sae && _options.Controls > 0 && subject.Parts is [{ Vector.Kind: Llama.Steering.VectorKind.Sparse }])
        {
            var rates = RandomArms.FiringRates(sae, shifts[0], cancellation);
            arms.AddRange(Enumerable.Range(0, _options.Controls).Select(i => RandomArms.Latents(subject, sae, rates, shifts, _options.Seed, i)));
        }

        return arms;
    }

    /// <summary>Residuals of the unsteered model at the questions' tokens, BOS left out.</summary>
    private ShiftMeter Shifts(int layer, ISuite suite, CancellationToken cancellation) => On(scorer =>
    {
        var rows = new List<float>();
        foreach (var question in Spread.Over(suite.Questions, _options.ShiftQuestions))
        {
            var residuals = scorer.Residuals(question, layer, Steering.None, cancellation: cancellation);
            rows.AddRange(residuals.AsSpan(_model.Info.AddsBos ? _model.Info.ModelWidth : 0));
        }

        return new ShiftMeter([.. rows], _model.Info.ModelWidth);
    });

    private static Shift? ShiftOf(Arm arm, double strength, SubjectVector subject, List<ShiftMeter> shifts) => subject.Parts.Count > 1 ? null : arm.Kind switch
    {
        ArmKind.Vector => shifts[0].Measure(subject.Parts[0].Vector, strength * subject.Parts[0].Share),
        ArmKind.SignFlip => shifts[0].Measure(subject.Parts[0].Vector, -strength * subject.Parts[0].Share),
        ArmKind.Flattened => shifts[0].Measure(Llama.Steering.VectorBuilder.Dense(subject.Parts[0].Vector.Flatten(), 0, "flattened"), strength * subject.Parts[0].Share),
        _ => shifts[0].Measure(subject.Parts[0].Vector, strength * subject.Parts[0].Share), // matched to this
    };

    private Interval? Knowledge(Steering steering, CancellationToken cancellation) =>
        _options.Knowledge is { } suite ? Interval.Of(Primary(suite, On(s => Measure(s, suite, steering, "knowledge", cancellation)))) : null;

    private static ReportRow Row(string name, string kind, IReadOnlyList<ItemOutcome> outcomes, IReadOnlyList<ItemOutcome>? unsteered, IReadOnlyList<ItemOutcome>? vector, ISuite suite)
    {
        var primary = Primary(suite, outcomes);
        var details = primary.Where(o => o.Detail is not null).ToList();
        return new ReportRow
        {
            Name = name,
            Kind = kind,
            Value = Interval.Of(primary),
            Gain = unsteered is null ? null : Interval.Difference(primary, Primary(suite, unsteered)),
            VectorAdvantage = vector is null ? null : suite.LowerIsBetter ? Interval.Difference(primary, Primary(suite, vector)) : Interval.Difference(Primary(suite, vector), primary),
            Detail = details.Count == 0 ? null : details.Average(o => o.Detail!.Value),
            Localization = Localizations.Of(outcomes),
        };
    }

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

    private void Plan(ISuite test, ISuite sample, int main, int random)
    {
        var grid = _options.Validation is null ? 0 : _options.Strengths.Count;
        var fixedRows = 2 + (_options.PromptOnly is null ? 0 : 1);
        _total += (fixedRows + main) * test.Count + (long)main * grid * (_options.Validation?.Count ?? 0)
            + (long)(_options.Knowledge?.Count ?? 0) * (main + fixedRows - 1)
            + (random == 0 ? 0 : (random + 1L) * (sample.Count + ((long)grid * Math.Min(_options.ControlItems, _options.Validation?.Count ?? 0))));
    }

    private T On<T>(Func<SteeredScorer, T> work)
    {
        if (!_idle.TryTake(out var scorer))
        {
            scorer = new SteeredScorer(_model, _scoring);
            _all.Add(scorer);
        }

        try
        {
            return work(scorer);
        }
        finally
        {
            _idle.Add(scorer);
        }
    }

    private TResult[] Map<TResult>(List<Arm> arms, Func<SteeredScorer, Arm, TResult> work, CancellationToken cancellation)
    {
        var results = new TResult[arms.Count];
        try
        {
            Parallel.For(0, arms.Count, new ParallelOptions { MaxDegreeOfParallelism = _options.Workers, CancellationToken = cancellation }, i => results[i] = On(s => work(s, arms[i])));
        }
        catch (AggregateException e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]); // several workers failed: one message is enough
        }

        return results;
    }
}

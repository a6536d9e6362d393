using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Reports.Pages;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Evaluations;

/// <summary>The suites of one vector.</summary>
/// <param name="Test">Reported once.</param>
/// <param name="Validation">Chooses strengths; null: they are given.</param>
/// <param name="Label">What counts for it.</param>
internal sealed record VectorSuites(ISuite Test, ISuite? Validation, string? Label = null);

/// <summary>Runs a suite for every vector of the command line and puts the report together.</summary>
internal sealed class EvaluationRun : IDisposable
{
    // Below this many multiplications, 99 controls of each kind take a minute or two on two cores.
    private const double CheapWork = 4e12;

    // Neutral text beyond this adds time and little certainty.
    private const int LongestNeutral = 256;
    private const int MostNeutral = 2048;

    private static readonly double[] DefaultGrid = [0.25, 0.5, 0.75, 1, 1.5, 2];

    private readonly EvaluationSettings _settings;
    private readonly CommandConsole _console;
    private readonly SaeFile? _sae;
    private readonly RefusalSuite? _refusals;
    private readonly List<string> _leaks = [];
    private ProgressLine? _progress;

    private EvaluationRun(EvaluationSettings settings, SteeredModel steered, SaeFile? sae, RefusalSuite? refusals, CommandConsole console) =>
        (_settings, Steered, _sae, _refusals, _console) = (settings, steered, sae, refusals, console);

    public SteeredModel Steered { get; }

    /// <summary>What a reader of the report must know about the data.</summary>
    public void Note(IEnumerable<string> notes) => _leaks.AddRange(notes);

    /// <summary>Opens model, vectors and SAE and checks that they belong together.</summary>
    public static EvaluationRun Open(EvaluationSettings settings, CommandConsole console, CancellationToken cancellation)
    {
        if (settings.Report is { } report)
        {
            OutputFile.Require(report, [.. settings.Data, settings.Validation, settings.Sae, settings.TrainData, settings.Neutral, settings.Knowledge, settings.ValidationKnowledge, settings.Refusals, settings.RefusalRules, settings.Steering.Model]);
        }

        var refusals = RefusalCheck.Load(settings, console);
        var sae = settings.Sae is null ? null : SaeFile.Open(settings.Sae);
        SteeredModel? steered = null;
        try
        {
            steered = SteeredModel.Open(settings.Steering, settings.Engine, console, cancellation);
            if (settings.TrainData is not null && steered.Vectors.FirstOrDefault(v => v.File.Vectors.Any(x => x.Sae?.Activation == SaeActivation.TopK)) is { } topK)
            {
                throw new YapoException(YapoErrorKind.Unsupported, $"{topK.Path}: vectors are not trained in the latents of a TopK SAE, which depend on each other, so --train-data cannot train its controls; leave it out, or convert the SAE to thresholds first");
            }

            if (sae is not null)
            {
                RequireFits(sae, steered);
            }

            return new EvaluationRun(settings, steered, sae, refusals, console);
        }
        catch
        {
            steered?.Dispose();
            sae?.Dispose();
            throw;
        }
    }

    /// <summary>Measures.</summary>
    /// <param name="suites">The suites for a vector, or for null, where there is none.</param>
    /// <param name="knowledge">How the questions of --knowledge are asked; null: by the log-probability of their answers.</param>
    /// <param name="matrix">Every vector against every label; null: none.</param>
    /// <param name="cancellation">Stops.</param>
    public EvaluationReport Run(
        Func<SubjectVector?, SteeredScorer, VectorSuites> suites, Func<ChoiceFile, ISuite>? knowledge = null, Func<Trial, IReadOnlyList<SubjectVector>, LabelMatrix?>? matrix = null,
        CancellationToken cancellation = default)
    {
        ChoiceFile? Known(string? path) => path is null ? null : ChoiceFile.Load(Errors.InputFile.Require(path));
        var (known, chosenOn) = (Known(_settings.Knowledge), Known(_settings.ValidationKnowledge));
        if (known is not null && chosenOn is not null)
        {
            LeakCheck.Require(LeakCheck.Places(known.Path, known.Items), LeakCheck.Places(chosenOn.Path, chosenOn.Items), "validation knowledge", _settings.AllowLeak, _console);
        }

        ISuite? Knowledge(ChoiceFile? file) => file is null ? null : (knowledge ?? (f => new ChoiceSuite(f.Items)))(file);
        var subjects = Steered.Vectors.Select(v => SubjectVector.Of(v.Source)).ToList();
        var scoring = new ScoringOptions
        {
            Threads = Steered.ContextFor(1).Threads,
            Workers = _settings.Workers > 0 ? _settings.Workers : Steered.Model.Info.ParameterCount < ContextOptions.SmallModel ? Environment.ProcessorCount : 1,
            Sequences = _settings.Parallel,
            Cells = _settings.Engine.ContextSize ?? new ScoringOptions().Cells,
        };
        var options = new TrialOptions
        {
            Knowledge = Knowledge(known),
            ValidationKnowledge = Knowledge(chosenOn),
            Refusals = _refusals,
            PromptOnly = _settings.PromptOnly,
            ControlItems = _settings.ControlItems,
            Seed = _settings.Seed,
            Sae = _sae,
            Neutral = _settings.Neutral is { } neutral ? scorer => ReadText.Load(neutral, scorer, LongestNeutral, MostNeutral) : null,
            KlBudget = _settings.KlBudget,
            KlBudgets = _settings.KlBudgets,
        };
        var vectors = new List<VectorReport>();
        VectorSuites? first = null;
        ReportRow? unsteered = null;
        LabelMatrix? labels = null;
        var (tokens, seconds) = (0L, 0.0);
        foreach (var subject in subjects.DefaultIfEmpty())
        {
            using var trained = subject is null ? null : TrainedControls.Prepare(_settings, Steered, subject, _sae, _console, cancellation);
            var own = suites(subject, new SteeredScorer(Steered.Model));
            using var trial = new Trial(
                Steered.Model,
                subject is null ? options : options with
                {
                    Strengths = _settings.Strengths ?? [.. DefaultGrid.Select(x => x * subject.Strength)],
                    Controls = _settings.Controls ?? DefaultControls(own),
                    MoreArms = trained is null ? options.MoreArms : trained.Arms,
                },
                scoring,
                p => Report(subject?.Name ?? "unsteered", p));
            first ??= own;
            if (subject is null)
            {
                unsteered = trial.Unsteered(own.Test, cancellation);
            }
            else
            {
                vectors.Add(trial.Run(subject, own.Test, own.Validation, own.Label, cancellation));
                if (vectors.Count == subjects.Count && subjects.Count > 1 && matrix is not null)
                {
                    labels = matrix(trial, [.. subjects.Zip(vectors, (s, v) => s with { Strength = v.Strength })]);
                }
            }

            (tokens, seconds) = (tokens + trial.Throughput.Tokens, seconds + trial.Throughput.Seconds);
            _progress?.Dispose();
            _progress = null;
        }

        var value = vectors.Count > 0 ? vectors[0].Rows[0].Value : unsteered!.Value;
        var report = new EvaluationReport
        {
            Verdict = vectors.Count > 0 ? string.Join(" ", vectors.Select(v => v.Verdict)) : "No vector was given: this is the model as it is.",
            Suite = first!.Test.Name,
            Measure = first.Test.Measure,
            DetailMeasure = first.Test.DetailMeasure,
            IsShare = first.Test.IsShare,
            LowerIsBetter = first.Test.LowerIsBetter,
            Model = Steered.Model.Path,
            Data = string.Join(", ", _settings.Data),
            Items = value.Count,
            Topics = first.Test.Topics,
            Seed = _settings.Seed,
            Unsteered = unsteered,
            Vectors = vectors,
            Matrix = labels,
            Notes = Notes(subjects, vectors, unsteered, first.Test.Topics),
            Throughput = Throughput.Of(tokens, seconds),
        };
        if (_settings.Report is { } path)
        {
            ReportHtml.Save(path, EvaluationPage.Of(report));
            _console.Note($"wrote {path}");
        }

        return report;
    }

    public void Dispose()
    {
        Steered.Dispose();
        _sae?.Dispose();
    }

    private void Report(string vector, TrialProgress p)
    {
        _progress ??= _console.Progress("evaluating", p.Total, "items");
        _progress.Report(p.Done, string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{p.TokensPerSecond:0} tok/s, {vector}: {p.What}"));
    }

    /// <summary>Every control that a reader may expect and that is not there is named.</summary>
    private List<string> Notes(List<SubjectVector> subjects, List<VectorReport> vectors, ReportRow? unsteered, int topics)
    {
        var rows = vectors.SelectMany(v => v.Rows).Concat(unsteered is null ? [] : [unsteered]);
        var notes = rows.Select(r => Ties.Note(r.Name, r.Ties, r.Value.Count)).OfType<string>().Distinct().ToList();
        if (Interval.Doubt(topics) is { } doubt)
        {
            notes.Add(doubt);
        }

        if (subjects.Count == 0)
        {
            return notes;
        }

        void Missing(bool missing, string note)
        {
            if (missing)
            {
                notes.Add(note);
            }
        }

        var sparse = subjects.Any(s => s.Parts[0].Vector.Kind == VectorKind.Sparse);
        Missing(_settings.PromptOnly is null, "no prompt to compare with: prompting often does as well or better; give one with --prompt-only");
        Missing(_settings.Validation is null, "the strength was not chosen here, and every control is matched to it; choose it on data of its own with --validation");
        Missing(_settings.Controls != 0 && _sae is null && sparse, "no random latents: they come from the vector's SAE; give it with --sae");
        Missing(_settings.Controls == 0, "no random directions and latents: --controls 0 leaves them out");
        Missing(_settings.TrainData is null, "no trained controls (random dictionary, random support, shuffled labels): give the training pairs with --train-data, and --sae");
        Missing(_settings.TrainData is not null, "trained controls have the vector of their last step: no validation pairs choose among theirs, as they may have for the vector (train --validation-data)");
        Missing(_settings.Validation is not null && _settings.ValidationKnowledge is null, "strengths were chosen without regard to knowledge: give questions that steering should leave alone with --validation-knowledge");
        Missing(_settings.Neutral is null, "no comparison at equal KL: give neutral text with --neutral");
        Missing(subjects.Any(s => s.Parts.Count > 1), "vectors of several layers: ‖Δh‖ is matched layer by layer on unsteered residuals, and no random latents are drawn");
        notes.AddRange(vectors.Where(v => v.StrengthKeepsBudgets == false).Select(v => $"{v.Vector}: no strength that was tried keeps to the budgets; the smallest was taken"));
        notes.AddRange(_leaks);
        Missing(vectors.Any(v => v.Random.Any(r => r.Items < v.Rows[0].Value.Count)), $"random controls were measured on {_settings.ControlItems} items spread over the data; the vector on the same for p");
        return notes;
    }

    /// <summary>99 where that is cheap. Decided by counting, not by timing, so that one command gives one report.</summary>
    private int DefaultControls(VectorSuites suites)
    {
        const double tokensPerItem = 64;
        var items = (double)Math.Min(_settings.ControlItems, suites.Test.Count)
            + ((_settings.Strengths?.Count ?? DefaultGrid.Length) * Math.Min(_settings.ControlItems, suites.Validation?.Count ?? 0));
        return 99 * items * tokensPerItem * Steered.Model.Info.ParameterCount <= CheapWork ? 99 : 19;
    }

    private static void RequireFits(SaeFile sae, SteeredModel steered)
    {
        foreach (var vector in steered.Vectors.SelectMany(v => v.File.Vectors).Where(v => v.Kind == VectorKind.Sparse))
        {
            if (vector.Sae!.Width != sae.Info.Width || vector.Layer != sae.Info.Layer || sae.Info.DModel != steered.Model.Info.ModelWidth)
            {
                throw new YapoException(
                    YapoErrorKind.Mismatch,
                    $"{sae.Path} has {sae.Info.Width} latents of layer {sae.Info.Layer}; vector {vector.Name} was made of {vector.Sae.Width} of layer {vector.Layer}. Give the SAE that it was trained with");
            }
        }
    }
}

using System.Globalization;
using System.Text.Json.Nodes;
using YaPO.Llama.Cli.Commands;
using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Methods;
using YaPO.Llama.Evaluation.Reports.Pages;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Cli.Experiments;

using Steering = Llama.Evaluation.Steering;

/// <summary>One run of <c>eval methods</c>: for each data set every method is trained and measured, then the sets are put together.</summary>
internal sealed class MethodsRun(EvalMethodsCommand.Options options, CommandConsole console, CancellationToken cancellation)
{
    private const int LabelledItems = 128;
    private const int MeasurementsPerVector = 22; // about: a dozen strengths, KL, knowledge and test
    private readonly ExperimentSettings _settings = options.Experiment;

    public void Run()
    {
        var sets = _settings.Sets.Select(Load).ToList();
        var knowledge = options.Knowledge is null ? null : SuiteFile.Load(options.Knowledge);
        var kept = _settings.ValidationKnowledge is null ? null : SuiteFile.Load(_settings.ValidationKnowledge);
        if (knowledge is not null && kept is not null)
        {
            LeakCheck.Require(knowledge.Places, kept.Places, "validation knowledge", allowed: null, console);
        }

        int layer;
        using (var sae = SaeFile.Open(options.Sae))
        {
            layer = sae.Info.Layer;
        }

        using var model = LlamaModel.Load(options.Model, _settings.Engine.ModelOptions, null, cancellation);
        _settings.RequireTexts(model);
        using var folder = RunFolder.Open(_settings.Folder, _settings.Resume, _settings.Config("eval methods", [options.Model, options.Sae, .. options.Knowledge is { } k ? [k] : Array.Empty<string>()], new JsonObject
        {
            ["methods"] = new JsonArray([.. options.Methods.Select(m => (JsonNode)m.ToString())]),
            ["rates"] = new JsonArray([.. options.Rates.Select(r => (JsonNode)r)]),
            ["seeds"] = options.Seeds,
            ["max_features"] = options.MaxFeatures,
            ["tau"] = options.Tau,
            ["validation_items"] = options.ValidationItems,
        }));
        var trained = sets.Select(s => Train(model, layer, s, folder)).ToList();
        using var scorer = _settings.Scorer(model);
        var neutral = _settings.NeutralText(scorer);
        using var line = console.Progress("measuring", sets.Zip(trained, (s, t) => t.Sum(m => m.Runs.Count) + (s.Settings.PromptOnly is null ? 1L : 2)).Sum() * MeasurementsPerVector, "measurements");
        var before = folder.Log.Count;
        var measured = sets.Zip(trained, (set, methods) => Measure(
            scorer, layer, set, methods,
            new MethodSuites(
                set.Validation.Suite(set.Data.Label), set.Test.Suite(set.Data.Label), knowledge?.Suite(null), kept?.Suite(null), set.Data.Label is null ? [] : set.Test.Labelled(LabelledItems), neutral,
                _settings.KlBudget),
            folder, what => line.Report(folder.Log.Count - before, what))).ToList();
        line.Dispose();
        Report(measured, layer);
    }

    /// <summary>A data set that is read and free of leaks.</summary>
    private sealed record LoadedSet(ExperimentData Data, ExperimentSettings Settings, SuiteFile Validation, SuiteFile Test, IReadOnlyList<string> Notes)
    {
        /// <summary>The name of a run on it.</summary>
        public string Key(params object[] parts) => RunFolder.Key([Data.Name, .. parts]);
    }

    private sealed record SeedRun(ulong Seed, string Key, Llama.Steering.SteeringFile File);

    private sealed record Trained(string Name, double? Rate, List<RateTried> Rates, List<SeedRun> Runs, string? Note = null);

    private LoadedSet Load(ExperimentData data)
    {
        var settings = _settings.For(data);
        var validation = SuiteFile.Load(data.Validation);
        var test = SuiteFile.Load(data.Test ?? throw new YapoException(YapoErrorKind.InvalidArgument, "methods are compared on data that nothing was chosen on: give --test FILE"));
        return new LoadedSet(data, settings, validation, test, Leaks.Require(test, validation, settings, console));
    }

    /// <summary>Tunes the rate of each method that has one with the first seed, then trains the other seeds at it.</summary>
    private List<Trained> Train(LlamaModel model, int layer, LoadedSet set, RunFolder folder)
    {
        var training = set.Settings.Training(model) with { Layer = layer, Tau = options.Tau };
        console.Note($"{set.Data.Name}: capturing residuals at block {layer} for all runs");
        using var capture = PairCapture.Run(model, training, [layer], cancellation);
        var optimized = options.Methods.Count(m => m is SteeringMethod.Yapo or SteeringMethod.Bipo);
        var further = options.Rates.Count > 1 ? RateSearch.MostFurther : 0;
        var (done, total) = (0, (optimized * (options.Rates.Count + further + options.Seeds - 1)) + options.Methods.Count - optimized);
        using var line = console.Progress($"training on {set.Data.Name}", total * 100L, "parts");
        Llama.Steering.SteeringFile One(string key, SteeringTrainingOptions run)
        {
            cancellation.ThrowIfCancellationRequested();
            var result = folder.Train(key, run, capture, p => line.Report((done * 100) + (100 * p.Step / Math.Max(1, p.TotalSteps)), string.Create(CultureInfo.InvariantCulture, $"{key}: loss {p.Loss:0.000}")), cancellation);
            line.Report(++done * 100, key);
            return result.File;
        }

        var methods = new List<Trained>();
        foreach (var method in options.Methods)
        {
            var name = method.ToString().ToLowerInvariant();
            var own = training with { Method = method, Sae = method is SteeringMethod.Yapo or SteeringMethod.Sas ? options.Sae : null, Optimizer = training.Optimizer with { MaxFeatures = options.MaxFeatures } };
            if (method == SteeringMethod.Caa)
            {
                methods.Add(new Trained(name, null, [], [new SeedRun(own.Optimizer.Seed, set.Key(name), One(set.Key(name), own))]));
                continue;
            }

            if (method == SteeringMethod.Sas)
            {
                var (tau, made) = FallingTau.First(
                    own.Tau,
                    t =>
                    {
                        var key = t == own.Tau ? set.Key(name) : set.Key(name, t);
                        return new SeedRun(own.Optimizer.Seed, key, One(key, own with { Tau = t }));
                    },
                    (t, e) => console.Note($"{set.Data.Name}: {e.Message}"));
                methods.Add(new Trained(name, null, [], [made], tau == own.Tau ? null : string.Create(
                    CultureInfo.InvariantCulture, $"sas took the latents that are active in {100 * tau:0} % of one side's answers: none is in {100 * own.Tau:0} %")));
                continue;
            }

            var first = own.Optimizer.Seed;
            SeedRun At(double rate, ulong seed)
            {
                var key = set.Key(name, rate, seed);
                return new SeedRun(seed, key, One(key, own with { Optimizer = own.Optimizer with { LearningRate = rate, Seed = seed } }));
            }

            var tried = new List<(RateTried Tried, SeedRun? Run)>();
            var diverged = new List<YapoException>();
            void Try(double rate)
            {
                try
                {
                    var run = At(rate, first);
                    tried.Add((new RateTried(rate, LossCurve.Reached(folder.LogOf(run.Key))), run));
                }
                catch (YapoException e) when (e.Kind == YapoErrorKind.Failed)
                {
                    // A rate that is too high is an answer, too, and must not cost all the others.
                    diverged.Add(e);
                    done++;
                    tried.Add((new RateTried(rate, double.PositiveInfinity), null));
                    console.Note(string.Create(CultureInfo.InvariantCulture, $"{set.Data.Name}: {name} at rate {rate}: {e.Message}"));
                }
            }

            options.Rates.ToList().ForEach(Try);
            if (tried.TrueForAll(t => t.Run is null))
            {
                throw diverged[0];
            }

            for (var i = 0; i < further && RateSearch.Beyond([.. tried.Select(t => t.Tried)]) is { } next; i++)
            {
                Try(next);
            }

            done += options.Rates.Count + further - tried.Count;
            var (best, bestRun) = tried.Where(t => t.Run is not null).MinBy(t => t.Tried.Loss);
            methods.Add(new Trained(
                name, best.LearningRate, [.. tried.Select(t => t.Tried).OrderBy(t => t.LearningRate)],
                [bestRun!, .. Enumerable.Range(1, options.Seeds - 1).Select(i => At(best.LearningRate, first + (ulong)i))]));
        }

        return methods;
    }

    private MeasuredSet Measure(SteeredScorer scorer, int layer, LoadedSet set, List<Trained> methods, MethodSuites suites, RunFolder folder, Action<string> status)
    {
        var trial = new MethodTrial(scorer, layer, suites, options.ValidationItems, folder.Log, status, cancellation);
        var unsteered = trial.Plain($"{set.Data.Name}/unsteered", Steering.None, "unsteered");
        var prompted = set.Settings.PromptOnly is { } words ? trial.Plain($"{set.Data.Name}/prompt", Steering.Words(words)) : null;
        return new MeasuredSet(
            set.Data.Name, suites.Test, unsteered, prompted,
            [
                .. methods.Select(m => new MeasuredMethod(
                    m.Name, m.Rate, m.Rates,
                    [.. m.Runs.Select(r => new MeasuredRun(r.Seed, LossCurve.Read(folder.LogOf(r.Key)), trial.Measure(r.Key, SubjectVector.Of(r.Key, r.File.Vectors[0], 1))))])),
            ],
            [.. set.Notes, .. Notes(set, suites), .. methods.Select(m => m.Note).OfType<string>()]);
    }

    private List<string> Notes(LoadedSet set, MethodSuites suites)
    {
        var notes = new List<string>();
        void Missing(bool missing, string note)
        {
            if (missing)
            {
                notes.Add(note);
            }
        }

        Missing(set.Settings.PromptOnly is null, "no prompt to compare with: prompting often does as well or better; give one with --prompt-only");
        Missing(set.Data.ValidationData is null, "no validation pairs: rates were chosen by the mean loss of the last quarter of the training batches, and convergence is read off single batches, which are noisy; give pairs of other topics with --validation-data");
        Missing(suites.Neutral is null, "no neutral text: strengths were chosen without a KL budget; give it with --neutral");
        Missing(suites.ValidationKnowledge is null, "strengths were chosen without regard to knowledge; give questions that steering should leave alone with --validation-knowledge");
        Missing(suites.Knowledge is null, "knowledge was not measured; give questions with --knowledge");
        Missing(options.Seeds == 1, "one seed: nothing is known about the spread between seeds");
        return notes;
    }

    private void Report(List<MeasuredSet> sets, int layer)
    {
        List<(string, string)> facts =
        [
            ("model", options.Model), ("SAE", options.Sae), ("training data", Files(s => s.Data)), ("validation data", Files(s => s.Validation)), ("test data", Files(s => s.Test)),
            ("training", string.Create(CultureInfo.InvariantCulture, $"{_settings.Optimizer.Steps} steps of {_settings.Optimizer.BatchSize} pairs, then {_settings.Optimizer.RefitSteps} of refit (yapo); {options.Seeds} seeds")),
        ];
        if (sets is [var only])
        {
            var report = MethodsSummary.Of(only.Test, layer, only.Unsteered, only.Prompted, only.Methods, only.Notes);
            Save(MethodsPage.Of(report, facts));
            console.WriteMethods(report, _settings.Json);
        }
        else
        {
            var overview = MethodsOverview.Of(sets, layer);
            Save(MethodsOverviewPage.Of(overview, facts));
            console.WriteMethods(overview, _settings.Json);
        }
    }

    private string Files(Func<ExperimentData, string?> file) => string.Join(", ", _settings.Sets.Select(file).Distinct());

    private void Save(ReportPage page)
    {
        if (_settings.Report is { } path)
        {
            ReportHtml.Save(path, page);
            console.Note($"wrote {path}");
        }
    }
}

using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using YaPO.Llama.Cli.Commands;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Reports.Pages;
using YaPO.Llama.Evaluation.Tuning;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Cli.Experiments;

/// <summary>One run of <c>tune</c>: residuals of all candidate layers in one pass, a training for each candidate, the search, the winner's file.</summary>
internal sealed class TuneRun(TuneCommand.Options options, CommandConsole console, CancellationToken cancellation)
{
    private readonly ExperimentSettings _settings = options.Experiment;
    private readonly Stopwatch _watch = Stopwatch.StartNew();

    private string Name => options.Name ?? Path.GetFileNameWithoutExtension(options.Output);

    private sealed record Plan(string Name, int Layer, string? Sae, string Positions, int Support, double? Rate); // Rate: null where the method has none, or there is nothing to choose

    public void Run()
    {
        var (validation, test) = (SuiteFile.Load(_settings.Validation), _settings.Test is null ? null : SuiteFile.Load(_settings.Test));
        var leaks = Leaks.Require(test, validation, _settings, console);
        var plans = Plans();
        var own = Name;
        var label = _settings.Label ?? validation.Labels.FirstOrDefault(l => l.Equals(own, StringComparison.OrdinalIgnoreCase));
        var config = _settings.Config("tune", [options.Model, .. options.Saes], new JsonObject
        {
            ["method"] = options.Method.ToString(),
            ["candidates"] = new JsonArray([.. plans.Select(p => (JsonNode)p.Name)]),
            ["coarse_items"] = options.CoarseItems,
            ["label"] = label,
        });
        using var model = LlamaModel.Load(options.Model, _settings.Engine.ModelOptions, null, cancellation);
        _settings.RequireTexts(model);
        using var folder = RunFolder.Open(_settings.Folder, _settings.Resume, config);
        var candidates = Train(model, plans, folder, out var files, out var trainedTokens, out var failed);
        using var scorer = _settings.Scorer(model);
        var neutral = _settings.NeutralText(scorer)!;
        var search = new TuneOptions { KlBudget = _settings.KlBudget, CoarseItems = options.CoarseItems, PromptOnly = _settings.PromptOnly, Knowledge = _settings.ValidationKnowledge is { } known ? SuiteFile.Load(known).Suite(null) : null };
        var expected = (plans.Count * (1 + search.Coarse.Count)) + (Math.Min(search.Finalists, plans.Count) * 2 * search.Fine.Count) + 8;
        TuneReport report;
        using (var line = console.Progress("searching", expected, "measurements"))
        {
            var before = folder.Log.Count;
            report = new TuneSearch(scorer, neutral, search, folder.Log, what => line.Report(folder.Log.Count - before, what), cancellation)
                .Run(candidates, validation.Suite(label), test?.Suite(label));
            report = report with { Notes = [.. leaks, .. failed, .. report.Notes] };
        }

        var winner = files[report.Chosen];
        Save(winner, report);
        var estimate = Estimate(scorer.EvaluatedTokens, trainedTokens);
        if (_settings.Report is { } path)
        {
            ReportHtml.Save(path, TunePage.Of(report,
            [
                ("method", options.Method.ToString().ToLowerInvariant()), ("model", options.Model), ("training data", _settings.Data), ("validation data", _settings.Validation),
                .. _settings.Test is { } t ? [("test data", t)] : Array.Empty<(string, string)>(), ("neutral text", _settings.Neutral!), ("cost", estimate),
            ]));
            console.Note($"wrote {path}");
        }

        Write(report, estimate);
    }

    private List<Plan> Plans()
    {
        var sites = new List<(int Layer, string? Sae)>();
        foreach (var path in options.Saes)
        {
            using var sae = SaeFile.Open(path);
            if (sites.Exists(s => s.Layer == sae.Info.Layer))
            {
                throw new YapoException(YapoErrorKind.InvalidArgument, $"{path} is a second SAE of block {sae.Info.Layer}; give one for each candidate layer");
            }

            sites.Add((sae.Info.Layer, path));
        }

        var sparse = options.Method is SteeringMethod.Yapo or SteeringMethod.Sas;
        if (!sparse && options.Layers.Count > 0)
        {
            sites = [.. options.Layers.Distinct().Select(l => (l, (string?)null))];
        }

        // caa and sas look at answers, whatever is steered: one training would do, but each file records the positions it is for.
        return
        [
            .. from s in sites
               from p in options.Positions
               from k in options.Method == SteeringMethod.Yapo ? options.Supports : [0]
               from r in options.Rates.Count > 0 && options.Method is (SteeringMethod.Yapo or SteeringMethod.Bipo) ? options.Rates.Select(r => (double?)r) : [null]
               select new Plan(
                   $"layer {s.Layer}, {p}" + (options.Method == SteeringMethod.Yapo ? $", {(k == 0 ? "all" : k)} latents" : "") + (r is null ? "" : string.Create(CultureInfo.InvariantCulture, $", rate {r}")),
                   s.Layer, sparse ? s.Sae : null, p, k, r),
        ];
    }

    private List<TuneCandidate> Train(LlamaModel model, List<Plan> plans, RunFolder folder, out Dictionary<string, SteeringFile> files, out long tokens, out List<string> failed)
    {
        var training = _settings.Training(model) with { Method = options.Method };
        var layers = plans.Select(p => p.Layer).Distinct().ToList();
        console.Note($"capturing residuals at block{(layers.Count > 1 ? "s" : "")} {string.Join(", ", layers)} in one pass");
        using var capture = PairCapture.Run(model, training, layers, cancellation);
        (files, tokens, failed) = ([], 0, []);
        YapoException? failure = null;
        var candidates = new List<TuneCandidate>();
        using var line = console.Progress("training candidates", plans.Count * 100L, "parts");
        foreach (var (i, plan) in plans.Index())
        {
            cancellation.ThrowIfCancellationRequested();
            var key = plan.Rate is { } r ? RunFolder.Key("layer", plan.Layer, plan.Positions, plan.Support, r) : RunFolder.Key("layer", plan.Layer, plan.Positions, plan.Support);
            var own = training with
            {
                Layer = plan.Layer,
                Sae = plan.Sae,
                Positions = SteeringPositions.Parse(plan.Positions),
                Optimizer = training.Optimizer with { MaxFeatures = plan.Support, LearningRate = plan.Rate ?? training.Optimizer.LearningRate },
            };
            SteeringFile file;
            TrainedRun run;
            try
            {
                (file, run) = folder.Train(
                    key, own, capture, p => line.Report((i * 100) + (100 * p.Step / Math.Max(1, p.TotalSteps)), string.Create(CultureInfo.InvariantCulture, $"{plan.Name}: loss {p.Loss:0.000}")), cancellation);
            }
            catch (YapoException e) when (e.Kind == YapoErrorKind.Failed)
            {
                failure = e;
                failed.Add($"{plan.Name} is no candidate: {e.Message}"); // a rate that is too high must not cost the others
                continue;
            }

            files[plan.Name] = file;
            tokens += run.Steps * training.Optimizer.BatchSize * 2 * capture.Tokens / capture.Sequences.Count;
            candidates.Add(new TuneCandidate(plan.Name, SubjectVector.Of(plan.Name, file.Vectors[0], 1)));
        }

        return candidates.Count > 0 ? candidates : throw failure!;
    }

    private void Save(SteeringFile winner, TuneReport report)
    {
        var name = Name;
        var evidence = TuneEvidence.Of(report, IO.InputFile.Sha256(_settings.Validation), IO.InputFile.Sha256(_settings.Neutral!), report.Test is null ? null : IO.InputFile.Sha256(_settings.Test!));
        (winner with
        {
            Name = name,
            Evidence = evidence,
            Vectors =
            [
                winner.Vectors[0] with
                {
                    Name = name, RecommendedStrength = (float)report.Strength, MinStrength = (float)Math.Min(report.MinStrength, (float)report.Strength), MaxStrength = (float)report.MaxStrength,
                },
            ],
        }).Save(options.Output);
    }

    /// <summary>What this run cost, and what the same search would on a model of 2 billion parameters at stated speeds.</summary>
    private string Estimate(long read, long trained)
    {
        // A token of a training costs about three of reading (forward, and backward through values and weights' transposes), at most for the blocks above the layer.
        var work = read + (3.0 * trained);
        string Hours(double speed) => work / speed >= 5400 ? string.Create(CultureInfo.InvariantCulture, $"{work / speed / 3600:0.#} hours") : string.Create(CultureInfo.InvariantCulture, $"{work / speed / 60:0} minutes");
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{_watch.Elapsed.TotalSeconds:0} s here; {read} tokens read in this process, {trained} trained. At assumed speeds, a 2B model needs at most about {Hours(25)} where it reads 25 tokens/s (a small CPU), {Hours(1000)} where it reads 1000 (a GPU); 'train --dry-run' times a model of yours");
    }

    private void Write(TuneReport report, string estimate)
    {
        if (_settings.Json)
        {
            console.Out.WriteLine(report.ToJson());
            return;
        }

        string Value(Llama.Evaluation.Interval? x) => x is null ? "" : report.IsShare
            ? string.Create(CultureInfo.InvariantCulture, $"{100 * x.Value:0.0} % [{100 * x.Low:0.0}, {100 * x.High:0.0}]")
            : string.Create(CultureInfo.InvariantCulture, $"{x.Value:0.####} [{x.Low:0.####}, {x.High:0.####}]");
        console.Out.WriteLine(report.Verdict);
        console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{options.Output}: {report.Chosen}, strength {report.Strength:0.###} (safe {report.MinStrength:0.###} to {report.MaxStrength:0.###}), {report.KlPerToken:0.####} of {report.KlBudget:0.####} nats per token"));
        console.WriteTable(
            ["", "strength", "KL/token", "validation", "test", "vector against it"],
            report.Validation.Select((r, i) => (IReadOnlyList<string>)
            [
                r.Name, r.Strength?.ToString("0.###", CultureInfo.InvariantCulture) ?? "", r.KlPerToken?.ToString("0.####", CultureInfo.InvariantCulture) ?? "", Value(r.Value),
                Value(report.Test?[i].Value), Value((report.Test ?? report.Validation)[i].VectorAdvantage),
            ]));
        foreach (var note in report.Notes)
        {
            console.Out.WriteLine($"note: {note}");
        }

        console.Note(estimate);
    }
}

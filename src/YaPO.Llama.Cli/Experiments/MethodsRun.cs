using System.Globalization;
using System.Text.Json.Nodes;
using YaPO.Llama.Cli.Commands;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;
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

/// <summary>One run of <c>eval methods</c>.</summary>
internal sealed class MethodsRun(EvalMethodsCommand.Options options, CommandConsole console, CancellationToken cancellation)
{
    private const int LabelledItems = 128;
    private readonly ExperimentSettings _settings = options.Experiment;

    public void Run()
    {
        var validation = SuiteFile.Load(_settings.Validation);
        var test = SuiteFile.Load(_settings.Test ?? throw new YapoException(YapoErrorKind.InvalidArgument, "methods are compared on data that nothing was chosen on: give --test FILE"));
        var knowledge = options.Knowledge is null ? null : SuiteFile.Load(options.Knowledge);
        Leaks.Require(test, validation, _settings, console);
        var label = _settings.Label;
        int layer;
        using (var sae = SaeFile.Open(options.Sae))
        {
            layer = sae.Info.Layer;
        }

        using var folder = RunFolder.Open(_settings.Folder, _settings.Resume, _settings.Config("eval methods", [options.Model, options.Sae, .. options.Knowledge is { } k ? [k] : Array.Empty<string>()], new JsonObject
        {
            ["methods"] = new JsonArray([.. options.Methods.Select(m => (JsonNode)m.ToString())]),
            ["rates"] = new JsonArray([.. options.Rates.Select(r => (JsonNode)r)]),
            ["seeds"] = options.Seeds,
            ["max_features"] = options.MaxFeatures,
            ["tau"] = options.Tau,
            ["validation_items"] = options.ValidationItems,
        }));
        using var model = LlamaModel.Load(options.Model, _settings.Engine.ModelOptions, null, cancellation);
        var trained = Train(model, layer, folder);
        using var scorer = _settings.Scorer(model);
        var labelled = label is null ? [] : test.Labelled(LabelledItems);
        var suites = new MethodSuites(validation.Suite(label), test.Suite(label), knowledge?.Suite(null), labelled, _settings.NeutralText(scorer), _settings.KlBudget);
        var runs = trained.Sum(m => m.Runs.Count) + 2;
        using var line = console.Progress("measuring", runs * 22L, "measurements");
        var before = folder.Log.Count;
        var trial = new MethodTrial(scorer, layer, suites, options.ValidationItems, folder.Log, what => line.Report(folder.Log.Count - before, what), cancellation);
        var unsteered = trial.Plain("unsteered", Steering.None);
        var prompted = _settings.PromptOnly is { } words ? trial.Plain("prompt", Steering.Words(words)) : null;
        var measured = trained.Select(m => new MeasuredMethod(
            m.Name, m.Rate, m.Rates, [.. m.Runs.Select(r => new MeasuredRun(r.Seed, LossCurve.Read(folder.LogOf(r.Key)), trial.Measure(r.Key, SubjectVector.Of(r.Key, r.File.Vectors[0], 1))))])).ToList();
        line.Dispose();
        var report = MethodsSummary.Of(suites.Test, layer, unsteered, prompted, measured, Notes(suites));
        if (_settings.Report is { } path)
        {
            ReportHtml.Save(path, MethodsPage.Of(report,
            [
                ("model", options.Model), ("SAE", options.Sae), ("training data", _settings.Data), ("validation data", _settings.Validation), ("test data", _settings.Test!),
                ("training", string.Create(CultureInfo.InvariantCulture, $"{_settings.Optimizer.Steps} steps of {_settings.Optimizer.BatchSize} pairs, then {_settings.Optimizer.RefitSteps} of refit (yapo); {options.Seeds} seeds")),
            ]));
            console.Note($"wrote {path}");
        }

        Write(report);
    }

    private sealed record SeedRun(ulong Seed, string Key, Llama.Steering.SteeringFile File);

    private sealed record Trained(string Name, double? Rate, List<RateTried> Rates, List<SeedRun> Runs);

    /// <summary>Tunes the rate of each method that has one with the first seed, then trains the other seeds at it.</summary>
    private List<Trained> Train(LlamaModel model, int layer, RunFolder folder)
    {
        var training = _settings.Training(model) with { Layer = layer, Tau = options.Tau };
        console.Note($"capturing residuals at block {layer} for all runs");
        using var capture = PairCapture.Run(model, training, [layer], cancellation);
        var optimized = options.Methods.Count(m => m is SteeringMethod.Yapo or SteeringMethod.Bipo);
        var (done, total) = (0, (optimized * (options.Rates.Count + options.Seeds - 1)) + options.Methods.Count - optimized);
        using var line = console.Progress("training", total * 100L, "parts");
        (Llama.Steering.SteeringFile File, TrainedRun Run) One(string key, SteeringTrainingOptions run)
        {
            cancellation.ThrowIfCancellationRequested();
            var result = folder.Train(key, run, capture, p => line.Report((done * 100) + (100 * p.Step / Math.Max(1, p.TotalSteps)), string.Create(CultureInfo.InvariantCulture, $"{key}: loss {p.Loss:0.000}")), cancellation);
            line.Report(++done * 100, key);
            return result;
        }

        var methods = new List<Trained>();
        foreach (var method in options.Methods)
        {
            var name = method.ToString().ToLowerInvariant();
            var own = training with { Method = method, Sae = method is SteeringMethod.Yapo or SteeringMethod.Sas ? options.Sae : null, Optimizer = training.Optimizer with { MaxFeatures = options.MaxFeatures } };
            if (method is SteeringMethod.Caa or SteeringMethod.Sas)
            {
                methods.Add(new Trained(name, null, [], [new SeedRun(own.Optimizer.Seed, name, One(name, own).File)]));
                continue;
            }

            string Key(double rate, ulong seed) => RunFolder.Key(name, rate, seed);
            SteeringTrainingOptions At(double rate, ulong seed) => own with { Optimizer = own.Optimizer with { LearningRate = rate, Seed = seed } };
            var first = own.Optimizer.Seed;
            var tried = options.Rates.Select(rate => (Rate: rate, File: One(Key(rate, first), At(rate, first)).File, Loss: LossCurve.Read(folder.LogOf(Key(rate, first))).Min(p => p.Loss))).ToList();
            var best = tried.MinBy(t => t.Loss);
            methods.Add(new Trained(
                name, best.Rate, [.. tried.Select(t => new RateTried(t.Rate, t.Loss))],
                [
                    new SeedRun(first, Key(best.Rate, first), best.File),
                    .. Enumerable.Range(1, options.Seeds - 1).Select(i => first + (ulong)i).Select(seed => new SeedRun(seed, Key(best.Rate, seed), One(Key(best.Rate, seed), At(best.Rate, seed)).File)),
                ]));
        }

        return methods;
    }

    private List<string> Notes(MethodSuites suites)
    {
        var notes = new List<string>();
        void Missing(bool missing, string note)
        {
            if (missing)
            {
                notes.Add(note);
            }
        }

        Missing(_settings.PromptOnly is null, "no prompt to compare with: prompting often does as well or better; give one with --prompt-only");
        Missing(_settings.ValidationData is null, "no validation pairs: rates were chosen by the noisy loss of training batches; give pairs of other topics with --validation-data");
        Missing(suites.Neutral is null, "no neutral text: strengths were chosen without a KL budget; give it with --neutral");
        Missing(suites.Knowledge is null, "knowledge was not measured; give questions with --knowledge");
        Missing(options.Seeds == 1, "one seed: nothing is known about the spread between seeds");
        return notes;
    }

    private void Write(MethodsReport report)
    {
        if (_settings.Json)
        {
            console.Out.WriteLine(report.ToJson());
            return;
        }

        string Show(double value) => report.IsShare ? (100 * value).ToString("0.0", CultureInfo.InvariantCulture) : value.ToString("0.####", CultureInfo.InvariantCulture);
        string Value(Interval? x) => x is null ? "" : $"{Show(x.Value)} [{Show(x.Low)}, {Show(x.High)}]";
        console.Out.WriteLine(report.Verdict);
        console.Out.WriteLine($"{report.Items} items of {report.Topics} topics; {report.Measure}{(report.IsShare ? ", in per cent" : "")}; 95 % intervals by bootstrap over topics of the mean over seeds");
        console.WriteTable(
            ["", "value", "against unsteered", "yapo against it", "seeds", "knowledge", "gap"],
            report.Rows.Select(r => (IReadOnlyList<string>)
            [
                r.Name, Value(r.Value), Value(r.Gain), Value(r.YapoAdvantage), r.SeedLow is { } low ? $"{Show(low)} to {Show(r.SeedHigh!.Value)}" : "", Value(r.Knowledge), r.Localization is { } l ? Show(l.Gap) : "",
            ]));
        string Short(double? value) => value?.ToString("0.###", CultureInfo.InvariantCulture) ?? "";
        console.WriteTable(
            ["", "rate", "steps to target", "best loss", "λ", "‖Δh‖/‖h‖", "safe λ", "safe ‖Δh‖/‖h‖"],
            report.Methods.Select(m => (IReadOnlyList<string>)
            [
                m.Method, Short(m.LearningRate), m.LearningRate is null ? "" : string.Join(", ", m.Runs.Select(r => r.StepsToTarget?.ToString(CultureInfo.InvariantCulture) ?? "never")),
                m.LearningRate is null ? "" : string.Join(", ", m.Runs.Select(r => Short(r.Plateau))), string.Join(", ", m.Runs.Select(r => Short(r.Strength))), string.Join(", ", m.Runs.Select(r => Short(r.RelativeShift))),
                $"{Short(m.SafeStrength.Low)} to {Short(m.SafeStrength.High)}", $"{Short(m.SafeShift.Low)} to {Short(m.SafeShift.High)}",
            ]));
        foreach (var note in report.Notes)
        {
            console.Out.WriteLine($"note: {note}");
        }
    }
}

using System.Globalization;
using System.Text.Json.Nodes;
using YaPO.Llama.Cli.Commands;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Reports.Pages;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Evaluation.Transfer;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Cli.Experiments;

using Steering = Llama.Evaluation.Steering;

/// <summary>One run of <c>eval transfer</c>.</summary>
internal sealed class TransferRun(EvalTransferCommand.Options options, CommandConsole console, CancellationToken cancellation)
{
    private readonly ExperimentSettings _settings = options.Experiment;
    private readonly List<string> _shared = [];

    public void Run()
    {
        var validation = SuiteFile.Load(_settings.Validation);
        var test = SuiteFile.Load(_settings.Test ?? throw new YapoException(YapoErrorKind.InvalidArgument, "vectors are compared on data that nothing was chosen on: give --test FILE"));
        _shared.AddRange(Leaks.Require(test, validation, _settings, console));
        RequireOneModel();
        using var folder = RunFolder.Open(_settings.Folder, _settings.Resume, _settings.Config("eval transfer", [.. options.Models, .. options.Sae is { } s ? [s] : Array.Empty<string>()], new JsonObject
        {
            ["method"] = options.Method.ToString(),
            ["layer"] = options.Layer,
            ["max_features"] = options.MaxFeatures,
            ["strengths"] = new JsonArray([.. options.Strengths.Select(x => (JsonNode)x)]),
        }));
        var (chooser, judge) = (validation.Suite(_settings.Label), test.Suite(_settings.Label));
        var names = options.Models.Select(m => Path.GetFileNameWithoutExtension(m)).ToList();
        names = names.Distinct(StringComparer.OrdinalIgnoreCase).Count() == names.Count ? names : [.. options.Models]; // files of several folders may have one name
        var vectors = options.Models.Select((path, i) => Train(path, names[i], chooser, folder)).ToList();
        var (unsteered, outcomes) = (new List<List<ItemOutcome>>(), vectors.Select(_ => new List<IReadOnlyList<ItemOutcome>>()).ToList());
        foreach (var (path, name) in options.Models.Zip(names))
        {
            using var model = LlamaModel.Load(path, _settings.Engine.ModelOptions, null, cancellation);
            using var scorer = _settings.Scorer(model);
            List<ItemOutcome> Measure(string key, Steering steering) => folder.Log.Get($"run on {name}/{key}", () =>
            {
                cancellation.ThrowIfCancellationRequested();
                console.Note($"test on {name}: {key}");
                return judge.Run(scorer, steering, cancellation).Select(o => o with { Text = null }).ToList();
            });
            unsteered.Add(Measure("unsteered", Steering.None));
            for (var i = 0; i < vectors.Count; i++)
            {
                outcomes[i].Add(Measure($"trained on {names[i]}", vectors[i].Subject.At(vectors[i].Strength)));
            }
        }

        var report = TransferReport.Of(judge, names, unsteered, [.. vectors.Select(v => v.Strength)], outcomes, Notes(judge));
        if (_settings.Report is { } html)
        {
            ReportHtml.Save(html, TransferPage.Of(report,
            [
                ("method", options.Method.ToString().ToLowerInvariant()), ("models", string.Join(", ", options.Models)), ("training data", _settings.Data), ("validation data", _settings.Validation), ("test data", _settings.Test!),
            ]));
            console.Note($"wrote {html}");
        }

        Write(report);
    }

    private List<string> Notes(ISuite judge)
    {
        var notes = new List<string>(_shared);
        if (Interval.Doubt(judge.Topics) is { } doubt)
        {
            notes.Add(doubt);
        }

        if (_settings.Neutral is null)
        {
            notes.Add("no neutral text: strengths were chosen without a KL budget; give it with --neutral");
        }

        if (_settings.ValidationKnowledge is null)
        {
            notes.Add("strengths were chosen without regard to knowledge; give questions that steering should leave alone with --validation-knowledge");
        }

        return notes;
    }

    /// <summary>Trains on one file and chooses the strength there.</summary>
    private (SubjectVector Subject, double Strength) Train(string path, string name, ISuite chooser, RunFolder folder)
    {
        using var model = LlamaModel.Load(path, _settings.Engine.ModelOptions, null, cancellation);
        _settings.RequireTexts(model);
        var training = _settings.Training(model) with { Method = options.Method, Sae = options.Method is Training.SteeringMethod.Yapo or Training.SteeringMethod.Sas ? options.Sae : null, Layer = Layer() };
        training = training with { Optimizer = training.Optimizer with { MaxFeatures = options.MaxFeatures } };
        SubjectVector subject;
        using (var capture = PairCapture.Run(model, training, [training.Layer!.Value], cancellation))
        using (var line = console.Progress($"training on {name}", 100, "parts"))
        {
            var (file, _) = folder.Train(RunFolder.Key(name), training, capture, p => line.Report(100 * p.Step / Math.Max(1, p.TotalSteps), string.Create(CultureInfo.InvariantCulture, $"loss {p.Loss:0.000}")), cancellation);
            subject = SubjectVector.Of(name, file.Vectors[0], 1);
        }

        using var scorer = _settings.Scorer(model);
        var neutral = _settings.NeutralText(scorer);
        var knowledge = _settings.ValidationKnowledge is null ? null : SuiteFile.Load(_settings.ValidationKnowledge).Suite(null);
        string Key(double strength) => string.Create(CultureInfo.InvariantCulture, $"{name}/{strength:R}");
        List<ItemOutcome> Outcomes(string stage, string key, ISuite suite, Steering steering)
        {
            cancellation.ThrowIfCancellationRequested();
            return folder.Log.Get<List<ItemOutcome>>($"{stage} items/{key}", () => [.. suite.Run(scorer, steering, cancellation).Where(o => o.Group == suite.PrimaryGroup)]);
        }

        double Knowledge(string key, Steering steering) => Interval.Of(Outcomes("knowledge", key, knowledge!, steering)).Value;

        bool Allowed(double strength) =>
            (neutral is null || folder.Log.Get($"kl/{Key(strength)}", () =>
            {
                var readings = scorer.Read(neutral, subject.At(strength), cancellation);
                return readings.Sum(r => r.Kl) / readings.Sum(r => r.Tokens);
            }) <= _settings.KlBudget)
            && (knowledge is null || StrengthRule.KeepsKnowledge(Knowledge($"{name}/unsteered", Steering.None), Knowledge(Key(strength), subject.At(strength))));
        var outcomes = options.Strengths.Select(s => Outcomes("validation", Key(s), chooser, subject.At(s))).ToList();
        return (subject, options.Strengths[StrengthRule.Choose(outcomes, i => Allowed(options.Strengths[i]), chooser.LowerIsBetter).Index]);
    }

    private int Layer()
    {
        if (options.Sae is null)
        {
            return options.Layer ?? throw new YapoException(YapoErrorKind.InvalidArgument, "give the block to steer with --layer, or an SAE with --sae");
        }

        using var sae = SaeFile.Open(options.Sae);
        return options.Layer ?? sae.Info.Layer;
    }

    private void RequireOneModel()
    {
        var first = ModelFingerprint.Compute(options.Models[0]);
        foreach (var path in options.Models.Skip(1))
        {
            if (ModelFingerprint.Compute(path).Fingerprint != first.Fingerprint)
            {
                throw new YapoException(YapoErrorKind.Mismatch, $"{path} is not the same model as {options.Models[0]}: their fingerprints differ. Give quantizations of one model");
            }
        }
    }

    private void Write(TransferReport report)
    {
        if (_settings.Json)
        {
            console.Out.WriteLine(report.ToJson());
            return;
        }

        string Show(double value) => report.IsShare ? (100 * value).ToString("0.0", CultureInfo.InvariantCulture) : value.ToString("0.####", CultureInfo.InvariantCulture);
        console.Out.WriteLine(report.Verdict);
        console.Out.WriteLine($"{report.Items} items of {report.Topics} topics; {report.Measure}{(report.IsShare ? ", in per cent" : "")}");
        console.WriteTable(
            ["", "strength", .. report.RunOn.Select(f => $"run on {f}")],
            report.Rows.Select(r => (IReadOnlyList<string>)[r.Name, r.Strength?.ToString("0.###", CultureInfo.InvariantCulture) ?? "", .. r.Values.Select(v => $"{Show(v.Value)} [{Show(v.Low)}, {Show(v.High)}]")]));
        foreach (var note in report.Notes)
        {
            console.Out.WriteLine($"note: {note}");
        }
    }
}

using System.Text.Json;
using YaPO.Llama.Cli.Experiments;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Evaluation.Tuning;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Tests.Training;

namespace YaPO.Llama.Tests.Evaluation;

/// <summary>tune as a process, on a random model: what it chooses keeps its promises, and a kill changes nothing.</summary>
public sealed class TuneTests : NativeTest
{
    private const double Budget = 0.02;
    private readonly TinyWorld _world = new();

    public override void Dispose()
    {
        _world.Dispose();
        base.Dispose();
    }

    [Fact]
    public void Tune_Killed_ThenResumed_WritesTheBytesOfAnUninterruptedRun_WithinTheBudget()
    {
        var whole = CliProcess.Run(_world.Folder, "", Tune("whole.ysv", "--json", "--report", "whole.html"));
        whole.ExitCode.Should().Be(0, whole.Error);
        string[] parts = Tune("parts.ysv", "--checkpoint", "state", "--resume");
        foreach (var lines in new[] { 2, 6 })
        {
            using var killed = CliProcess.Start(_world.Folder, parts);
            killed.WaitUntil(_ => Measurements() >= lines, $"measurement {lines}");
            killed.Kill();
        }

        File.Exists(_world["parts.ysv"]).Should().BeFalse();
        var end = CliProcess.Run(_world.Folder, "", parts);

        end.ExitCode.Should().Be(0, end.Error);
        File.ReadAllBytes(_world["parts.ysv"]).Should().Equal(File.ReadAllBytes(_world["whole.ysv"]));
        using var json = JsonDocument.Parse(whole.Out);
        var report = json.RootElement;
        File.ReadAllText(_world["whole.html"]).Should().Contain(report.GetProperty("verdict").GetString()).And.Contain("prompting was not measured");
        report.GetProperty("candidates").GetArrayLength().Should().Be(4);
        report.GetProperty("test").GetArrayLength().Should().Be(3, "unsteered, the vector, its flattened direction");
        var lost = report.GetProperty("unsteered_knowledge").GetProperty("value").GetDouble() - report.GetProperty("knowledge").GetProperty("value").GetDouble();
        (lost <= 0.01 + 1e-9).Should().Be(!report.GetProperty("notes").ToString().Contains("keeps to the budgets", StringComparison.Ordinal), "a strength that costs knowledge is chosen only where all do, and the report says so");
        var file = SteeringFile.Load(_world["whole.ysv"]);
        var vector = file.Vectors[0];
        vector.RecommendedStrength.Should().Be((float)report.GetProperty("strength").GetDouble()).And.BeInRange(vector.MinStrength!.Value, vector.MaxStrength!.Value);
        vector.Positions.ToString().Should().BeOneOf("all", "generated");
        JsonDocument.Parse(file.Evidence).RootElement.GetProperty("test").GetProperty("vector").GetProperty("count").GetInt32().Should().Be(4);

        // The budget, measured here once more on what was written.
        using var model = LlamaModel.Load(_world.Model);
        using var scorer = new SteeredScorer(model);
        var readings = scorer.Read(ReadText.Load(_world["neutral.txt"], scorer), SubjectVector.Of("v", vector, 1).At(vector.RecommendedStrength));
        var kl = readings.Sum(r => r.Kl) / readings.Sum(r => r.Tokens);
        kl.Should().BeLessThanOrEqualTo(1.05 * Budget).And.BeApproximately(report.GetProperty("kl_per_token").GetDouble(), 1e-5);
        kl.Should().BeGreaterThan(0);
    }

    [Fact]
    public void Tune_Rates_AreCandidates_AndTheFileNamesTheOneItWasTrainedAt()
    {
        var run = CliProcess.Run(_world.Folder, "", Tune("rates.ysv", "--positions", "all", "--rates", "0.001,0.3", "--json"));

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        var candidates = json.RootElement.GetProperty("candidates").EnumerateArray().ToDictionary(c => c.GetProperty("name").GetString()!, c => c.GetProperty("coarse").ToString());
        candidates.Keys.Should().BeEquivalentTo(from k in Enumerable.Range(1, 2) from r in "0.001 0.3".Split(' ') select $"layer 0, all, {8 * k} latents, rate {r}");
        candidates.Values.Distinct().Should().HaveCount(4, "each rate trains another vector");
        var chosen = json.RootElement.GetProperty("chosen").GetString()!;
        using var config = JsonDocument.Parse(SteeringFile.Load(_world["rates.ysv"]).Train!.Config);
        chosen.Should().EndWith($"rate {config.RootElement.GetProperty("learning_rate").GetDouble()}");
    }

    [Fact]
    public async Task Tune_RateAtWhichTrainingFails_IsNoCandidate()
    {
        var run = await CliRun.Of(Tune("rates.ysv", "--positions", "all", "--max-features", "8", "--rates", "0.05,1e30", "--json"));

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        json.RootElement.GetProperty("candidates").EnumerateArray().Select(c => c.GetProperty("name").GetString()).Should().OnlyContain(n => n!.EndsWith("rate 0.05"));
        json.RootElement.GetProperty("notes").EnumerateArray().Select(n => n.GetString()).Should().Contain(n => n!.Contains("rate 1E+30 is no candidate: "));
        (await CliRun.Of(Tune("none.ysv", "--positions", "all", "--rates", "1e30"))).ExitCode.Should().NotBe(0);
    }

    [Fact]
    public void Evidence_FiguresThatAreNotFinite_AreNull()
    {
        var row = new TuneRow("flattened", "flattened", 4, new Interval(0.5, 0.4, 0.6, 10), null, double.NaN);
        var report = new TuneReport
        {
            Measure = "m", IsShare = true, KlBudget = 0.1, Items = 10, Topics = 10, Unsteered = row.Value, Candidates = [], Chosen = "c", Strength = 1, MinStrength = 1, MaxStrength = 1,
            KlPerToken = double.PositiveInfinity, Validation = [row], Verdict = "v",
        };

        using var json = JsonDocument.Parse(TuneEvidence.Of(report, "a", "b", null));

        json.RootElement.GetProperty("kl_per_token").ValueKind.Should().Be(JsonValueKind.Null);
        json.RootElement.GetProperty("validation").GetProperty("flattened").GetProperty("kl_per_token").ValueKind.Should().Be(JsonValueKind.Null);
        json.RootElement.GetProperty("validation").GetProperty("flattened").GetProperty("value").GetDouble().Should().Be(0.5);
    }

    [Fact]
    public async Task Tune_BadInput_IsNamed()
    {
        var twice = await CliRun.Of(Tune("v.ysv", "--sae", _world.Sae));
        twice.ExitCode.Should().Be(2);
        twice.Error.Should().Contain("second SAE of block 0");
        File.Copy(_world["questions.jsonl"], _world["test.jsonl"], overwrite: true);
        var leaking = await CliRun.Of(Tune("v.ysv"));
        leaking.ExitCode.Should().Be(3);
        leaking.Error.Should().Contain("validation data").And.Contain("test.jsonl, line 1").And.NotContain("--allow-leak");

        (await CliRun.Of(Tune("v.ysv", "--resume"))).ExitCode.Should().Be(2);
        (await CliRun.Of(Tune("v.ysv", "--max-features", "1.5"))).ExitCode.Should().Be(2);
        (await CliRun.Of(Tune("v.ysv", "--kl-budget", "0"))).ExitCode.Should().Be(2);
        (await CliRun.Of(Tune("v.ysv", "--rates", "0.01,0"))).ExitCode.Should().Be(2);
        File.Exists(_world["v.ysv"]).Should().BeFalse();
    }

    private string[] Tune(string output, params string[] more)
    {
        string Questions(int first) => string.Concat(Enumerable.Range(first, 4).Select(i => $"{{\"prompt\": \"what is {i} here?\", \"options\": [\"the tea\", \"a user\"], \"answer\": {i % 2}, \"topic\": \"t{i}\"}}\n"));
        if (!File.Exists(_world["questions.jsonl"]))
        {
            File.WriteAllText(_world["questions.jsonl"], Questions(0));
            File.WriteAllText(_world["test.jsonl"], Questions(4));
            File.WriteAllText(_world["knowledge.jsonl"], Questions(8));
            File.WriteAllText(_world["neutral.txt"], "what is the model of the user in the water?\n\nthe user eats what the model is.\n");
        }

        return
        [
            "tune", "--model", _world.Model, "--sae", _world.Sae, "--data", _world.Data, "--validation", _world["questions.jsonl"], "--test", _world["test.jsonl"],
            "--neutral", _world["neutral.txt"], "--validation-knowledge", _world["knowledge.jsonl"], "--kl-budget", $"{Budget}", "--max-features", "8,16", "--steps", "20", "--refit-steps", "5", "--batch-size", "2", .. more.Contains("--rates") ? [] : new[] { "--learning-rate", "0.05" },
            "--threads", "1", "--workers", "1", "--coarse-items", "2", "--name", "v", "--output", _world[output], .. more.Select(m => m is "state" or "whole.html" ? _world[m] : m),
        ];
    }

    private int Measurements()
    {
        try
        {
            using var reader = new StreamReader(new FileStream(_world["state/measurements.jsonl"], FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
            return reader.ReadToEnd().Count(c => c == '\n');
        }
        catch (IOException)
        {
            return 0;
        }
    }
}

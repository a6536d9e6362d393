using System.Text.Json;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Methods;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Evaluation.Transfer;
using YaPO.Llama.Datasets;
using YaPO.Llama.Cli.Experiments;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Tests.Training;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Evaluation;

/// <summary>eval methods and eval transfer on a random model, and how their figures are put together.</summary>
public sealed class MethodsTests : NativeTest
{
    private readonly TinyWorld _world = new();

    public override void Dispose()
    {
        _world.Dispose();
        base.Dispose();
    }

    [Fact]
    public async Task Methods_InterruptedAndResumed_GivesTheReportOfAWholeRun()
    {
        var whole = await CliRun.Of(Methods("--json", "--report", _world["methods.html"], "--checkpoint", _world["state"]));
        whole.ExitCode.Should().Be(0, whole.Error);

        // Cut the measurements in the middle of a line, as a kill leaves them, and lose a vector's line with them.
        var log = _world["state/measurements.jsonl"];
        var text = File.ReadAllText(log);
        File.WriteAllText(log, text[..(text.IndexOf("train/egypt-yapo", StringComparison.Ordinal) + 30)]);
        var resumed = await CliRun.Of(Methods("--json", "--checkpoint", _world["state"], "--resume"));
        var again = await CliRun.Of(Methods("--json", "--checkpoint", _world["state"]));

        resumed.ExitCode.Should().Be(0, resumed.Error);
        resumed.Out.Should().Be(whole.Out);
        again.ExitCode.Should().Be(2);
        again.Error.Should().Contain("--resume");
        using var json = JsonDocument.Parse(whole.Out);
        var report = json.RootElement;
        report.GetProperty("rows").EnumerateArray().Select(r => r.GetProperty("name").GetString()).Should().Equal("unsteered", "prompt only", "caa", "bipo", "yapo");
        var yapo = report.GetProperty("methods")[2];
        yapo.GetProperty("runs").GetArrayLength().Should().Be(2);
        yapo.GetProperty("rates").GetArrayLength().Should().BeInRange(3, 5, "of two rates one is the best, so further ones are tried");
        var rates = yapo.GetProperty("rates").EnumerateArray().Select(r => (Rate: r.GetProperty("learning_rate").GetDouble(), Loss: r.GetProperty("loss").GetDouble())).ToList();
        yapo.GetProperty("learning_rate").GetDouble().Should().Be(rates.MinBy(r => r.Loss).Rate);
        yapo.GetProperty("sensitivity").GetArrayLength().Should().BeGreaterThan(3);
        report.GetProperty("matrix").GetProperty("labels").GetArrayLength().Should().Be(2);
        File.ReadAllText(_world["methods.html"]).Should().Contain("Convergence").And.Contain("Knowledge retained");
    }

    [Fact]
    public async Task Methods_SeveralDataSets_AreReportedEachAndOnAverage()
    {
        _ = Shared();
        string Named(string label, int answer) => string.Concat(Enumerable.Range(4, 4).Select(i =>
            $"{{\"prompt\": \"in {label} what is {i} here?\", \"options\": [\"the tea\", \"a user\"], \"labels\": [\"egypt\", \"brazil\"], \"answer\": {answer}, \"topic\": \"t{i}\"}}\n"));
        File.AppendAllText(_world["test.jsonl"], Named("egypt", 0) + Named("brazil", 1));
        File.Copy(_world.Data, _world["brazil.jsonl"]);
        string[] args =
        [
            "eval", "methods", "--model", _world.Model, "--sae", _world.Sae, "--methods", "caa,bipo", "--rates", "0.05", "--seeds", "1", "--data", _world.Data, "--data", _world["brazil.jsonl"],
            "--label", "egypt", "--validation", _world["questions.jsonl"], "--test", _world["test.jsonl"], "--prompt-only", "in {label}", "--validation-items", "4", "--steps", "4", "--batch-size", "2",
            "--threads", "1", "--workers", "1",
        ];

        var run = await CliRun.Of([.. args, "--label", "brazil", "--json", "--report", _world["sets.html"]]);
        var oneLabel = await CliRun.Of(args);
        var sameName = await CliRun.Of([.. args, "--label", "egypt"]);

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        var root = json.RootElement;
        root.GetProperty("sets").EnumerateArray().Select(s => s.GetString()).Should().Equal("egypt", "brazil");
        var rows = root.GetProperty("rows").EnumerateArray().ToList();
        rows.Select(r => r.GetProperty("name").GetString()).Should().Equal("unsteered", "prompt only", "caa", "bipo");
        foreach (var (row, at) in rows.Select((r, at) => (r, at)))
        {
            var values = root.GetProperty("reports").EnumerateArray().Select(r => r.GetProperty("rows")[at].GetProperty("value").GetProperty("value").GetDouble()).ToList();
            row.GetProperty("mean").GetProperty("value").GetDouble().Should().BeApproximately(values.Average(), 1e-9);
            row.GetProperty("localization").GetProperty("localized").GetProperty("count").GetInt32().Should().Be(8);
        }

        rows[0].GetProperty("mean").GetProperty("value").GetDouble().Should().BeApproximately(0.5, 1e-9, "every question is answered as one of the two");
        File.ReadAllText(_world["sets.html"]).Should().Contain("Accuracy per data set").And.Contain("Localized gap").And.Contain("brazil: on test data");
        oneLabel.ExitCode.Should().Be(2);
        oneLabel.Error.Should().Contain("--label is given 1 times and --data 2 times");
        sameName.ExitCode.Should().Be(2);
        sameName.Error.Should().Contain("must differ in name");
    }

    [Theory]
    [InlineData(0.7, 0.7, new double[0])]
    [InlineData(0.65, 0.6, new[] { 0.65 })]
    [InlineData(0.7, 0.4, new[] { 0.7, 0.6, 0.5 })]
    [InlineData(0.05, 0.05, new double[0])]
    public void FallingTau_StopsAtTheFirstTenthThatLeavesALatent(double asked, double passes, double[] failing)
    {
        var failed = new List<double>();

        var (tau, result) = FallingTau.First(
            asked, t => t <= passes + 1e-9 ? $"made at {t:0.00}" : throw new YapoException(YapoErrorKind.Failed, "no latent"), (t, _) => failed.Add(t));

        tau.Should().BeApproximately(passes, 1e-12);
        result.Should().Be($"made at {passes:0.00}");
        failed.Should().Equal(failing, (a, b) => Math.Abs(a - b) < 1e-12);
    }

    [Fact]
    public void FallingTau_WithoutALatentAtATenth_AndOtherFailures_AreErrors()
    {
        var tried = 0;
        var never = () => FallingTau.First<int>(0.7, _ => throw new YapoException(YapoErrorKind.Failed, $"no latent {++tried}"), (_, _) => { });
        var other = () => FallingTau.First<int>(0.7, _ => throw new YapoException(YapoErrorKind.Io, "disk"), (_, _) => { });

        never.Should().Throw<YapoException>().WithMessage("no latent 7");
        other.Should().Throw<YapoException>().WithMessage("disk");
    }

    [Fact]
    public async Task Transfer_TwoFiles_GivesEveryCell()
    {
        File.Copy(_world.Model, _world["copy.gguf"]);

        var run = await CliRun.Of(
        [
            "eval", "transfer", "--model", _world.Model, "--model", _world["copy.gguf"], "--method", "caa", "--layer", "0", .. Judged(), "--strengths", "0.5,1", "--json", "--report", _world["transfer.html"],
        ]);

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        var rows = json.RootElement.GetProperty("rows").EnumerateArray().ToList();
        rows.Should().HaveCount(3).And.OnlyContain(r => r.GetProperty("values").GetArrayLength() == 2);
        rows[1].GetProperty("values").ToString().Should().Be(rows[2].GetProperty("values").ToString(), "the files are the same");
        json.RootElement.GetProperty("differences")[0].GetProperty("difference").GetProperty("value").GetDouble().Should().Be(0);
        json.RootElement.GetProperty("verdict").GetString().Should().Contain("no measurable difference");

        using var other = new RandomModel(new RandomModel.Settings { Width = TinyWorld.Width, Layers = 3 });
        var refused = await CliRun.Of(["eval", "transfer", "--model", _world.Model, "--model", other.Path, "--method", "caa", "--layer", "0", .. Judged()]);
        refused.Error.Should().Contain("not the same model");
        refused.ExitCode.Should().Be(3);
        (await CliRun.Of(["eval", "transfer", "--model", _world.Model, "--method", "caa", "--layer", "0", .. Judged()])).ExitCode.Should().Be(2);
    }

    [Fact]
    public void Summary_PairsSeedsItemByItem_AndNamesTheWinner()
    {
        static List<ItemOutcome> Items(Func<int, double> value) => [.. Enumerable.Range(0, 40).Select(i => new ItemOutcome($"{i}", $"t{i / 4}", value(i)))];
        static MethodOutcome Outcome(Func<int, double> value, double best = 0.5) => new(
            1, 0.1, true, null, [.. new[] { 0.1, 0.5 * best, best, 0.9 * best, 0.1 }.Select((v, i) => new SensitivityPoint(0.1 * (i + 1), i + 1, v, null))], Items(value), null, new Dictionary<string, double>());
        var suite = new ChoiceSuite([new MultipleChoiceItem { Id = "a", Topic = "a", Prompt = "p", Options = ["x", "y"], Answer = 0 }]);
        var yapo = new MeasuredMethod("yapo", 0.1, [], [new(0, [new(1, 0.6), new(2, 0.4)], Outcome(i => i % 2)), new(1, [new(1, 0.5), new(2, 0.3)], Outcome(_ => 1))]);
        var caa = new MeasuredMethod("caa", null, [], [new(0, [], Outcome(_ => 0.25))]);

        var report = MethodsSummary.Of(suite, 1, Outcome(_ => 0), Outcome(_ => 1), [caa, yapo], []);

        report.Rows.Single(r => r.Name == "yapo").Value.Value.Should().Be(0.75);
        report.Rows.Single(r => r.Name == "yapo").Should().Match<MethodRow>(r => r.SeedLow == 0.5 && r.SeedHigh == 1);
        report.Rows.Single(r => r.Name == "caa").YapoAdvantage!.Value.Should().Be(0.5);
        report.TargetLoss.Should().BeApproximately((Math.Log(2) + 0.3) / 2, 1e-12);
        report.Methods[1].Runs.Select(r => r.StepsToTarget).Should().Equal(2, 2);
        report.Methods[1].SafeStrength.Should().Be(new SafeRange(3, 4));
        report.Verdict.Should().StartWith("Prompting (100.0 %) wins over every method. In order: yapo 75.0 %, caa 25.0 % (unsteered 0.0 %); yapo beats caa");
    }

    [Fact]
    public void Summary_MethodsThatTie_AreNamedTogether()
    {
        static MethodOutcome Outcome(double value) => new(
            1, 0.1, true, null, [new SensitivityPoint(0.1, 1, 0.5, null)], [.. Enumerable.Range(0, 40).Select(i => new ItemOutcome($"{i}", $"t{i / 4}", value))], null, new Dictionary<string, double>());
        var suite = new ChoiceSuite([new MultipleChoiceItem { Id = "a", Topic = "a", Prompt = "p", Options = ["x", "y"], Answer = 0 }]);
        MeasuredMethod Method(string name, double value) => new(name, null, [], [new(0, [], Outcome(value))]);

        var report = MethodsSummary.Of(suite, 1, Outcome(0), Outcome(0.5), [Method("caa", 0.75), Method("sas", 0.25), Method("yapo", 0.75)], []);

        report.Verdict.Should().StartWith("caa and yapo win over prompting (50.0 %). In order: caa 75.0 %, yapo 75.0 %, sas 25.0 %").And.Contain("yapo and caa are not told apart");
    }

    [Theory]
    [InlineData("Think of {Label}.", "Think of Egypt.")]
    [InlineData("{label}, {Label}: {prompt}", "egypt, Egypt: {prompt}")]
    public void Prompt_HoldsTheLabel_AsItIsOrWithACapital(string given, string expected)
    {
        var set = new ExperimentData("set", "d", null, "v", "t", "egypt");
        var settings = new ExperimentSettings("d", null, "v", "t", null, 0.1, null, given, new VectorOptimizerOptions(), null, false, false, null, 1, null!) { Sets = [set] };

        settings.For(set).PromptOnly.Should().Be(expected);
    }

    [Fact]
    public void Summary_PromptBetterOnEveryTopic_Wins_HoweverWideTheTopicsSpread_AndRatesAtTheEdgeAreNamed()
    {
        static MethodOutcome Outcome(double less) => new(
            1, 0.1, true, null, [new SensitivityPoint(0.1, 1, 0.5, null)], [.. Enumerable.Range(0, 40).Select(i => new ItemOutcome($"{i}", $"t{i / 4}", (i / 4 % 2) - less))], null, new Dictionary<string, double>());
        var suite = new ChoiceSuite(Enumerable.Range(0, 10).Select(i => new MultipleChoiceItem { Id = $"{i}", Topic = $"t{i}", Prompt = "p", Options = ["x", "y"], Answer = 0 }));
        var bipo = new MeasuredMethod("bipo", 0.1, [new(0.1, 0.4), new(0.01, 0.6)], [new(0, [new(1, 0.4)], Outcome(0.02))]);

        var report = MethodsSummary.Of(suite, 1, Outcome(0.5), Outcome(0), [bipo], ["first"]);

        report.Verdict.Should().StartWith("Prompting (50.0 %) wins over every method");
        report.Notes.Should().HaveCount(2).And.Contain(n => n.Contains("bipo did best at rate 0.1, the edge"));
    }

    [Theory]
    [InlineData(0.0, 0.3, "helps")]
    [InlineData(0.3, 0.0, "hurts")]
    [InlineData(0.3, 0.3, "makes no measurable difference")]
    public void Transfer_Verdict_SaysWhetherTrainingThereMatters(double elsewhere, double there, string expected)
    {
        static List<ItemOutcome> Items(double value) => [.. Enumerable.Range(0, 20).Select(i => new ItemOutcome($"{i}", $"t{i / 2}", value))];
        var suite = new ChoiceSuite([new MultipleChoiceItem { Id = "a", Topic = "a", Prompt = "p", Options = ["x", "y"], Answer = 0 }]);

        var report = TransferReport.Of(suite, ["f16", "q4"], [Items(0), Items(0)], [1, 1], [[Items(0.5), Items(elsewhere)], [Items(0.5), Items(there)]], []);

        report.Verdict.Should().StartWith($"On q4, training there instead of on f16 {expected}");
    }

    [Fact]
    public void Key_PartsThatDiffer_NameDifferentRuns()
    {
        object[][] parts = [["مصر", "yapo"], ["قطر", "yapo"], ["a-b", "c"], ["a", "b-c"], ["a_b", "c"], ["a b", "c"], [new string('é', 400)], [new string('é', 401)], ["egypt", 0.05], ["egypt", 1e30]];

        var keys = parts.Select(p => RunFolder.Key(p)).ToList();

        keys.Should().OnlyHaveUniqueItems().And.OnlyContain(k => k.Length < 200 && k.All(c => char.IsAsciiLetterOrDigit(c) || "._-".Contains(c)));
        keys.Should().Contain("egypt-0.05", "names that can stand as they are do");
    }

    /// <summary>Names in a script that file names of ours do not hold: each set's vectors are its own.</summary>
    [Fact]
    public async Task Methods_SetsNamedInAnotherScript_AreNotMixedUp()
    {
        File.WriteAllText(_world["two.jsonl"], string.Concat(File.ReadLines(_world.Data).Reverse().Select(l => l + "\n")));
        string Questions(int first, int right) => string.Concat(Enumerable.Range(first, 4).Select(i => $"{{\"prompt\": \"what is {i} here?\", \"options\": [\"the tea\", \"a user\"], \"answer\": {right}, \"topic\": \"t{i}\"}}\n"));
        File.WriteAllText(_world["questions.jsonl"], Questions(0, 0));
        File.WriteAllText(_world["test.jsonl"], Questions(4, 0));
        foreach (var (from, to) in new[] { (_world.Data, "مصر"), (_world["two.jsonl"], "قطر") })
        {
            File.Copy(from, _world[to + ".jsonl"]);
        }

        var run = await CliRun.Of(
            "eval", "methods", "--model", _world.Model, "--sae", _world.Sae, "--methods", "bipo", "--rates", "0.05", "--seeds", "1", "--steps", "2", "--batch-size", "2", "--validation-items", "4",
            "--data", _world["مصر.jsonl"], "--data", _world["قطر.jsonl"], "--validation", _world["questions.jsonl"], "--test", _world["test.jsonl"], "--threads", "1", "--workers", "1", "--checkpoint", _world["state"]);

        run.ExitCode.Should().Be(0, run.Error);
        var vectors = Directory.GetFiles(_world["state/vectors"]);
        vectors.Should().HaveCount(2, "one of each set");
        File.ReadAllBytes(vectors[0]).Should().NotEqual(File.ReadAllBytes(vectors[1]));
    }

    [Fact]
    public async Task Transfer_FilesOfOneNameInTwoFolders_AreTwoModels()
    {
        Directory.CreateDirectory(_world["other"]);
        var copy = Path.Combine(_world["other"], Path.GetFileName(_world.Model));
        File.Copy(_world.Model, copy);

        var run = await CliRun.Of(["eval", "transfer", "--model", _world.Model, "--model", copy, "--method", "caa", "--layer", "0", .. Judged(), "--strengths", "0.5,1", "--json"]);

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        json.RootElement.GetProperty("run_on").EnumerateArray().Select(n => n.GetString()).Should().Equal(_world.Model, copy);
        json.RootElement.GetProperty("notes").EnumerateArray().Select(n => n.GetString()).Should().Contain(n => n!.StartsWith("4 topics"));
    }

    [Fact]
    public async Task Methods_SameFilesInOtherParts_AreAnotherRun()
    {
        string[] Args(params string[] files) =>
        [
            "eval", "methods", "--model", _world.Model, "--sae", _world.Sae, "--methods", "caa", "--data", _world.Data, "--label", "egypt", "--threads", "1", "--workers", "1", "--checkpoint", _world["state"], .. files,
        ];
        _ = Judged();

        var first = await CliRun.Of(Args("--validation", _world["questions.jsonl"], "--test", _world["test.jsonl"], "--neutral", _world["neutral.txt"]));
        var swapped = await CliRun.Of(Args("--validation", _world["questions.jsonl"], "--test", _world["test.jsonl"], "--validation-knowledge", _world["neutral.txt"], "--resume"));

        first.ExitCode.Should().Be(0, first.Error);
        swapped.ExitCode.Should().Be(3);
    }

    [Fact]
    public async Task Methods_RateAtWhichTrainingFails_CostsThatRateOnly()
    {
        string[] args =
        [
            "eval", "methods", "--model", _world.Model, "--sae", _world.Sae, "--methods", "bipo", "--seeds", "1", .. Judged(), "--steps", "40", "--batch-size", "2", "--validation-items", "4",
        ];

        var run = await CliRun.Of([.. args, "--rates", "0.05,1e30", "--json", "--report", _world["methods.html"]]);
        var none = await CliRun.Of([.. args, "--rates", "1e30"]);

        run.ExitCode.Should().Be(0, run.Error);
        run.Error.Should().Contain("at rate 1E+30: ").And.Contain("egypt");
        using var json = JsonDocument.Parse(run.Out);
        var rates = json.RootElement.GetProperty("methods")[0].GetProperty("rates").EnumerateArray().ToList();
        rates[^1].GetProperty("learning_rate").GetDouble().Should().Be(1e30);
        rates[^1].GetProperty("loss").ValueKind.Should().Be(JsonValueKind.Null);
        json.RootElement.GetProperty("methods")[0].GetProperty("learning_rate").GetDouble().Should().BeLessThan(1);
        json.RootElement.GetProperty("notes").EnumerateArray().Select(n => n.GetString()).Should().Contain(n => n!.Contains("last quarter")).And.Contain(n => n!.StartsWith("4 topics"));
        File.ReadAllText(_world["methods.html"]).Should().Contain("failed");
        none.ExitCode.Should().NotBe(0, "there is nothing left to measure");
    }

    [Fact]
    public void LossCurve_Reached_IsWhereTrainingEndsNotItsLuckiestBatch()
    {
        // A rate too high: one lucky batch early on, and a bad vector at the end. One that learns.
        File.WriteAllLines(_world["high.jsonl"], Enumerable.Range(1, 40).Select(i => $"{{\"step\":{i},\"loss\":{(i == 7 ? "0.01" : "0.9")}}}"));
        File.WriteAllLines(_world["good.jsonl"], Enumerable.Range(1, 40).Select(i => FormattableString.Invariant($"{{\"step\":{i},\"loss\":{0.7 - (0.01 * i)}}}")));
        File.WriteAllText(_world["validated.jsonl"], "{\"step\":1,\"loss\":0.1,\"validation_loss\":0.5}\n{\"step\":2,\"loss\":0.2,\"validation_loss\":0.6}\n{\"step\":3,\"loss\":null}\n");
        File.WriteAllText(_world["one.jsonl"], "{\"step\":1,\"loss\":0.4}\n");
        File.WriteAllText(_world["empty.jsonl"], "");

        LossCurve.Reached(_world["high.jsonl"]).Should().BeApproximately(0.9, 1e-12);
        LossCurve.Reached(_world["good.jsonl"]).Should().BeApproximately(0.345, 1e-12, "the mean of the last ten of forty");
        LossCurve.Reached(_world["validated.jsonl"]).Should().Be(0.5, "the vector of the best validation is kept");
        LossCurve.Reached(_world["one.jsonl"]).Should().Be(0.4);
        FluentActions.Invoking(() => LossCurve.Reached(_world["empty.jsonl"])).Should().Throw<YapoException>();
    }

    private string[] Methods(params string[] more) =>
    [
        "eval", "methods", "--model", _world.Model, "--sae", _world.Sae, "--methods", "caa,bipo,yapo", "--rates", "0.02,0.1", "--seeds", "2", "--max-features", "12", .. Shared(),
        "--validation-data", _world.Validation, "--knowledge", _world["knowledge.jsonl"], "--validation-knowledge", _world["kept.jsonl"], "--neutral", _world["neutral.txt"], "--prompt-only", "the user:", "--validation-items", "4", .. more,
    ];

    private string[] Shared() => [.. Judged(), "--steps", "10", "--refit-steps", "3", "--batch-size", "2"];

    private string[] Judged()
    {
        string Questions(int first) => string.Concat(Enumerable.Range(first, 4).Select(i => $"{{\"prompt\": \"what is {i} here?\", \"options\": [\"the tea\", \"a user\"], \"labels\": [\"egypt\", \"brazil\"], \"topic\": \"t{i}\"}}\n"));
        File.WriteAllText(_world["questions.jsonl"], Questions(0));
        File.WriteAllText(_world["test.jsonl"], Questions(4));
        File.WriteAllText(_world["neutral.txt"], "what is the model of the user in the water?\n");
        File.WriteAllText(_world["knowledge.jsonl"], "{\"prompt\": \"what is 1\", \"options\": [\"the\", \"a\"], \"answer\": 0}\n{\"prompt\": \"what is 2\", \"options\": [\"the\", \"a\"], \"answer\": 1}\n");
        File.WriteAllText(_world["kept.jsonl"], "{\"prompt\": \"what is 3\", \"options\": [\"the\", \"a\"], \"answer\": 0}\n{\"prompt\": \"what is 4\", \"options\": [\"the\", \"a\"], \"answer\": 1}\n");
        return
        [
            "--data", _world.Data, "--validation", _world["questions.jsonl"], "--test", _world["test.jsonl"], "--label", "egypt", "--threads", "1", "--workers", "1",
        ];
    }
}

using System.Text.Json;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Cli;

/// <summary>eval preference, perplexity and behaviour on a random model, in this process.</summary>
public sealed class EvalSuiteTests(CliWorld world) : NativeTest, IClassFixture<CliWorld>
{
    private static readonly string Pairs = string.Concat(Enumerable.Range(0, 4).Select(i => $"{{\"prompt\": \"what {i}\", \"chosen\": \"the model {i}\", \"rejected\": \"a user\", \"topic\": \"t{i / 2}\"}}\n"));
    private static readonly string Texts = "{\"text\": \"what is the model in the user\"}\n{\"text\": \"eat the hat in the model\"}\n";

    [Fact]
    public async Task Preference_WithNeutralText_HasKlAndEqualKlCurves()
    {
        var run = await Eval("preference", "--data", world.Write("p.jsonl", Pairs), "--vector", world.Vector + ":0.5", "--controls", "1", "--neutral", world.Write("n.jsonl", Texts), "--kl-budgets", "0.01,0.05", "--json");

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        var vector = json.RootElement.GetProperty("vectors")[0];
        var rows = vector.GetProperty("rows").EnumerateArray().ToList();
        rows[1].GetProperty("detail_gain").GetProperty("value").GetDouble().Should().BeApproximately(rows[1].GetProperty("detail").GetDouble() - rows[0].GetProperty("detail").GetDouble(), 1e-9);
        rows.Single(r => r.GetProperty("kind").GetString() == "vector").GetProperty("kl_per_token").GetDouble().Should().BePositive();
        var curve = vector.GetProperty("equal_kl")[0];
        curve.GetProperty("kind").GetString().Should().Be("vector");
        foreach (var point in curve.GetProperty("points").EnumerateArray())
        {
            point.GetProperty("kl_per_token").GetDouble().Should().BeApproximately(point.GetProperty("budget").GetDouble(), 0.03 * point.GetProperty("budget").GetDouble());
        }

        run.Out.Should().NotContain("NaN");
    }

    [Fact]
    public async Task Preference_TrainData_TrainsTheControls()
    {
        var train = world.Write("train.jsonl", Pairs.Replace("what", "eat", StringComparison.Ordinal));
        var trained = world.In("trained.ysv");
        (await CliRun.Of("train", "--method", "yapo", "--model", world.Model, "--sae", world.Sae, "--data", train, "--output", trained, "--steps", "2", "--refit-steps", "1", "--max-features", "4", "--threads", "1")).ExitCode.Should().Be(0);

        var run = await Eval("preference", "--data", world.Write("p.jsonl", Pairs), "--vector", trained, "--sae", world.Sae, "--train-data", train, "--controls", "0", "--json");
        var leaking = await Eval("preference", "--data", train, "--vector", trained, "--train-data", train, "--controls", "0");

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        json.RootElement.GetProperty("vectors")[0].GetProperty("rows").EnumerateArray().Select(r => r.GetProperty("kind").GetString())
            .Should().Equal("unsteered", "vector", "flattened", "sign_flip", "shuffled_labels", "random_dictionary", "random_support");
        leaking.ExitCode.Should().Be(3);
        leaking.Error.Should().Contain("training data").And.Contain("--allow-leak");
    }

    /// <summary>Each vector's controls are trained as its own file says, and not as another file of the same name.</summary>
    [Fact]
    public async Task Preference_TrainDataAndFilesOfOneName_AreNotMixedUp()
    {
        var train = world.Write("train.jsonl", Pairs.Replace("what", "eat", StringComparison.Ordinal));
        Directory.CreateDirectory(world.In("other"));
        var trained = Path.Combine(world.In("other"), Path.GetFileName(world.Vector));
        (await CliRun.Of("train", "--method", "yapo", "--model", world.Model, "--sae", world.Sae, "--data", train, "--output", trained, "--steps", "2", "--refit-steps", "1", "--max-features", "4", "--threads", "1")).ExitCode.Should().Be(0);

        var run = await Eval("preference", "--data", world.Write("p.jsonl", Pairs), "--vector", trained, "--vector", world.Vector, "--sae", world.Sae, "--train-data", train, "--controls", "0");

        run.ExitCode.Should().Be(3, run.Error);
        run.Error.Should().Contain("does not record how it was trained");
    }

    /// <summary>A model driven out of its numbers is a result: the report is written, with null where there is no figure.</summary>
    [Fact]
    public async Task Perplexity_OfAModelDrivenOutOfItsNumbers_IsReported()
    {
        var run = await Eval("perplexity", "--data", world.Write("n.jsonl", Texts), "--vector", world.Dense + ":3e38", "--controls", "0", "--json", "--report", world.In("broken.html"));

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        var rows = json.RootElement.GetProperty("vectors")[0].GetProperty("rows").EnumerateArray().ToList();
        rows[0].GetProperty("value").GetProperty("value").GetDouble().Should().BePositive("the unsteered row has its figures");
        rows.Where(r => r.ToString().Contains("null", StringComparison.Ordinal)).Should().NotBeEmpty();
        File.Exists(world.In("broken.html")).Should().BeTrue();
    }

    /// <summary>Line 1 of one file and line 1 of another have nothing in common.</summary>
    [Theory]
    [InlineData("preference", "{\"prompt\": \"what N\", \"chosen\": \"the model\", \"rejected\": \"a user\"}")]
    [InlineData("perplexity", "{\"text\": \"what is the model N in the user\"}")]
    [InlineData("mcq", "{\"prompt\": \"what is N\", \"options\": [\"the\", \"a user\"], \"answer\": 0}")]
    [InlineData("behaviour", "{\"prompt\": \"what is N\"}")]
    [InlineData("behaviour", "{\"prompt\": \"what is N\", \"expected\": \"refuse\"}")]
    public async Task SeveralFiles_ItemsWithoutATopic_AreTopicsOfTheirOwn(string suite, string line)
    {
        string Lines(int first) => string.Concat(Enumerable.Range(first, 3).Select(i => line.Replace("N", $"{i}", StringComparison.Ordinal) + "\n"));
        string[] judged = suite == "behaviour" && !line.Contains("expected", StringComparison.Ordinal) ? ["--rules", world.Write("topic-rules.json", "{\"rules\": [{\"any\": [\"x\"], \"score\": 1}]}")] : [];

        var run = await Eval(suite, ["--data", world.Write("one.jsonl", Lines(0)), "--data", world.Write("two.jsonl", Lines(3)), "--json", .. judged]);

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        json.RootElement.GetProperty("items").GetInt32().Should().Be(6);
        json.RootElement.GetProperty("topics").GetInt32().Should().Be(6);
    }

    [Fact]
    public async Task Perplexity_LowerIsBetter_AndKlStandsBeside()
    {
        var run = await Eval("perplexity", "--data", world.Write("n.jsonl", Texts), "--vector", world.Vector, "--controls", "2");

        run.ExitCode.Should().Be(0, run.Error);
        run.Out.Should().Contain("nats per token").And.Contain("KL to unsteered").And.Contain("perplexity");
        using var json = JsonDocument.Parse((await Eval("perplexity", "--data", world.In("n.jsonl"), "--vector", world.Vector, "--controls", "0", "--json")).Out);
        foreach (var row in json.RootElement.GetProperty("vectors")[0].GetProperty("rows").EnumerateArray())
        {
            row.GetProperty("perplexity").GetProperty("value").GetDouble().Should().BeApproximately(Math.Exp(row.GetProperty("value").GetProperty("value").GetDouble()), 1e-9);
        }
    }

    [Fact]
    public async Task Behaviour_RulesAndJudge_ScoreGeneratedText()
    {
        var prompts = world.Write("b.jsonl", "{\"prompt\": \"what is it\", \"group\": \"a\"}\n{\"prompt\": \"eat\", \"group\": \"b\"}\n");
        var rules = world.Write("rules.json", "{\"measure\": \"share of group a\", \"rules\": [{\"group\": \"a\", \"score\": 1}]}");

        var byRules = await Eval("behaviour", "--data", prompts, "--vector", world.Vector, "--rules", rules, "-n", "5", "--controls", "1", "--json");
        var byJudge = await Eval("behaviour", "--data", prompts, "--vector", world.Vector, "--judge", world.OtherModel, "--behaviour", "rudeness", "-n", "5", "--controls", "0", "--json");

        byRules.ExitCode.Should().Be(0, byRules.Error);
        byJudge.ExitCode.Should().Be(0, byJudge.Error);
        Value(byRules, 0).Should().Be(0.5);
        Value(byJudge, 0).Should().BeInRange(1, 4);
    }

    [Fact]
    public async Task Refusals_StandBesideEveryRow_AndALoweredRateIsTheFirstThingSaid()
    {
        // Whatever the unsteered model says counts as a refusal, and hardly anything a strongly steered one says does.
        string[] words = ["what", "is", "the", "model", "in", "user", "eat", "hat", "a", "tea", "mode"];
        string[] prompts = [.. Enumerable.Range(0, 40).Select(i => $"{words[i % 11]} {words[(i * 7 / 3) % 11]} {words[i * i % 11]} {i}")];
        var asked = world.Write("asked.jsonl", string.Concat(prompts.Select(p => $"{{\"prompt\": \"{p}\"}}\n")));
        var said = (await CliRun.Of("generate", "--model", world.Model, "--threads", "1", "--input", asked, "-n", "8", "--json")).Out.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select((line, i) => (Text: JsonDocument.Parse(line).RootElement.GetProperty("text").GetString()!.Trim(), Prompt: prompts[i])).Where(x => x.Text.Any(char.IsLetter)).ToList();
        said.Should().HaveCountGreaterThan(3);
        var data = world.Write("refusals.jsonl", string.Concat(said.Select((x, i) => $"{{\"prompt\": \"{x.Prompt}\", \"expected\": \"{(i > 1 ? "refuse" : "answer")}\", \"topic\": \"t{i}\"}}\n")));
        var rules = world.Write("refusal-rules.json", $"{{\"rules\": [{{\"regex\": {JsonSerializer.Serialize(string.Join('|', said.Select(x => System.Text.RegularExpressions.Regex.Escape(x.Text))))}, \"score\": 1}}]}}");
        var main = await Eval("behaviour", "--data", data, "--refusal-rules", rules, "--vector", world.Vector + ":50", "--controls", "0", "-n", "8", "--json", "--report", world.In("refusals.html"));
        var beside = await Eval("preference", "--data", world.Write("p.jsonl", Pairs), "--refusals", data, "--refusal-rules", rules, "--vector", world.Vector + ":50", "--controls", "0");

        main.ExitCode.Should().Be(0, main.Error);
        beside.ExitCode.Should().Be(0, beside.Error);
        using var json = JsonDocument.Parse(main.Out);
        var rows = json.RootElement.GetProperty("vectors")[0].GetProperty("rows").EnumerateArray().ToList();
        double Refused(string kind) => rows.Single(r => r.GetProperty("kind").GetString() == kind).GetProperty("refusals").GetProperty("refused").GetProperty("value").GetDouble();
        Refused("unsteered").Should().Be(1);
        Refused("vector").Should().BeLessThan(1);
        rows.Should().OnlyContain(r => r.GetProperty("refusals").GetProperty("falsely_refused").GetProperty("count").GetInt32() == 2);
        json.RootElement.GetProperty("verdict").GetString().Should().StartWith("Warning: sparse").And.Contain("the refusal rate on prompts that should be refused (100.0 % →");
        beside.Out.Should().StartWith("Warning: sparse").And.Contain("refused");
        File.ReadAllText(world.In("refusals.html")).Should().Contain("Warning: sparse").And.Contain("Falsely refused");
    }

    [Fact]
    public async Task TopicsOfTrainingAndValidation_InTheTestData_AreReported()
    {
        var test = world.Write("topics-test.jsonl", Pairs);
        var same = world.Write("topics-same.jsonl", Pairs.Replace("what", "eat", StringComparison.Ordinal));
        var other = world.Write("topics-other.jsonl", Pairs.Replace("what", "eat", StringComparison.Ordinal).Replace("\"t0\"", "\"u0\"", StringComparison.Ordinal).Replace("\"t1\"", "\"u1\"", StringComparison.Ordinal));

        var shared = await Eval("preference", "--data", test, "--validation", same, "--vector", world.Vector, "--strengths", "1", "--controls", "0", "--json");
        var apart = await Eval("preference", "--data", test, "--validation", other, "--vector", world.Vector, "--strengths", "1", "--controls", "0", "--json");

        shared.ExitCode.Should().Be(0, shared.Error);
        shared.Error.Should().Contain("2 of 2 test topics also stand in the validation data (t0, t1)");
        JsonDocument.Parse(shared.Out).RootElement.GetProperty("notes").ToString().Should().Contain("2 of 2 test topics").And.Contain("without regard to knowledge");
        apart.ExitCode.Should().Be(0, apart.Error);
        (apart.Out + apart.Error).Should().NotContain("test topics");
    }

    [Fact]
    public async Task TopKVector_IsMeasuredBesideItsControls()
    {
        var sae = RandomSae.Save(world.In("eval-topk.gguf"), 64, 100, CliWorld.Layer, topK: 10);
        using (var open = YaPO.Llama.Sae.SaeFile.Open(sae))
        {
            new YaPO.Llama.Steering.SteeringFile
            {
                Name = "topk", Base = YaPO.Llama.Models.ModelFingerprint.Compute(world.Model).ToBaseModel(), DModel = 64,
                Vectors = [YaPO.Llama.Steering.VectorBuilder.Sparse(open, [1, 30, 77], [9f, -9f, 9f], "topk")],
            }.Save(world.In("eval-topk.ysv"));
        }

        var run = await Eval("preference", "--data", world.Write("p.jsonl", Pairs), "--vector", world.In("eval-topk.ysv"), "--sae", sae, "--controls", "2", "--json");
        var trained = await Eval("preference", "--data", world.In("p.jsonl"), "--vector", world.In("eval-topk.ysv"), "--sae", sae, "--train-data", world.Write("t.jsonl", Pairs.Replace("what", "eat", StringComparison.Ordinal)));

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        var vector = json.RootElement.GetProperty("vectors")[0];
        vector.GetProperty("random").EnumerateArray().Select(r => r.GetProperty("kind").GetString()).Should().Equal("random_direction", "random_latents");
        vector.GetProperty("rows")[1].GetProperty("relative_shift").GetDouble().Should().BePositive();
        trained.ExitCode.Should().Be(3);
        trained.Error.Should().Contain("TopK").And.Contain("--train-data");
    }

    [Theory]
    [InlineData("mcq", "[default: 0.01,0.03,0.1,0.3]")]
    [InlineData("methods", "[default: 0.002,0.006,0.02,0.06]")]
    [InlineData("transfer", "[default: 0.2,0.3,0.45,0.65,0.9]")]
    public async Task Help_ShowsListsAsTheyAreTyped(string command, string expected) =>
        (await CliRun.Of("eval", command, "--help")).Out.Should().Contain(expected).And.NotContain("[default: ]");

    [Theory]
    [InlineData("perplexity", "{\"prompt\": \"x\"}", "line 1", 3)]
    [InlineData("perplexity", "", "holds no text", 3)]
    [InlineData("preference", "{\"prompt\": \"x\", \"chosen\": \"y\"}", "'rejected' is missing", 3)]
    public async Task BadData_IsNamed(string suite, string content, string expected, int code)
    {
        var run = await Eval(suite, "--data", world.Write("bad.jsonl", content), "--vector", world.Vector);

        run.ExitCode.Should().Be(code, run.Error);
        run.Error.Should().Contain("bad.jsonl").And.Contain(expected);
    }

    [Theory]
    [InlineData("give either --rules", "behaviour")]
    [InlineData("--kl-budget needs --neutral", "preference", "--kl-budget", "0.1")]
    [InlineData("not both", "behaviour", "--rules", "r.json", "--judge", "x.gguf", "--behaviour", "b")]
    [InlineData("--judge needs --behaviour", "behaviour", "--judge", "x.gguf")]
    public async Task WrongUsage_IsNamed(string expected, string suite, params string[] args)
    {
        var run = await Eval(suite, ["--data", world.Write("p.jsonl", Pairs), "--vector", world.Vector, .. args]);

        run.ExitCode.Should().Be(2);
        run.Error.Should().Contain(expected);
    }

    private static double Value(CliRun run, int row) =>
        JsonDocument.Parse(run.Out).RootElement.GetProperty("vectors")[0].GetProperty("rows")[row].GetProperty("value").GetProperty("value").GetDouble();

    private async Task<CliRun> Eval(string suite, params string[] args) => await CliRun.Of(["eval", suite, "--model", world.Model, "--threads", "1", "--workers", "1", .. args]);
}

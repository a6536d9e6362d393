using System.Text.Json;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Cli;

/// <summary>eval mcq on a random model, in this process: the table, the JSON, and what bad data is answered with.</summary>
public sealed class EvalMcqTests(CliWorld world) : NativeTest, IClassFixture<CliWorld>
{
    private static readonly string Questions = string.Concat(Enumerable.Range(0, 6).Select(i => $"{{\"prompt\": \"what is {i}\", \"options\": [\"the\", \"a user\"], \"answer\": {i % 2}, \"topic\": \"t{i / 2}\"}}\n"));

    [Fact]
    public async Task Mcq_Table_BeginsWithTheVerdict()
    {
        var run = await Eval("--data", world.Write("q.jsonl", Questions), "--vector", world.Vector, "--controls", "2", "--sae", world.Sae);

        run.ExitCode.Should().Be(0, run.Error);
        var lines = run.Out.Split('\n');
        lines[0].Should().StartWith("sparse ").And.Contain("no prompt was given to compare with").And.Contain("random latents");
        lines[1].Should().Contain("6 items of 3 topics");
        run.Out.Should().Contain("unsteered").And.Contain("flattened").And.Contain("sign flipped").And.Contain("note: no prompt to compare with").And.NotContain("\u001b");
        run.Out.Should().MatchRegex("\\d+ tokens in .* tokens/s");
    }

    [Fact]
    public async Task Mcq_Report_HoldsTheJsonThatIsPrinted()
    {
        var file = world.In("report.html");

        var run = await Eval("--data", world.Write("q.jsonl", Questions), "--vector", world.Vector, "--controls", "1", "--json", "--report", file);
        var refused = await Eval("--data", world.Write("q.jsonl", Questions), "--report", world.In("q.jsonl"));

        run.ExitCode.Should().Be(0, run.Error);
        var html = File.ReadAllText(file);
        html.Should().StartWith("<!doctype html>").And.Contain(run.Out.Trim().Replace("<", "\\u003c"));
        refused.ExitCode.Should().Be(2);
        refused.Error.Should().Contain("q.jsonl").And.Contain("also an input");
    }

    [Theory]
    [InlineData("text")]
    [InlineData("letter")]
    [InlineData("generated")]
    public async Task Mcq_EachMode_GivesJsonWithIntervals(string mode)
    {
        var run = await Eval(["--data", world.Write("q.jsonl", Questions), "--vector", world.Vector, "--controls", "1", "--by", mode, "--json", .. mode == "generated" ? ["-n", "6"] : Array.Empty<string>()]);

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        json.RootElement.GetProperty("suite").GetString().Should().Be($"mcq by {mode}");
        var value = json.RootElement.GetProperty("vectors")[0].GetProperty("rows")[0].GetProperty("value");
        value.GetProperty("low").GetDouble().Should().BeLessThanOrEqualTo(value.GetProperty("value").GetDouble());
        value.GetProperty("high").GetDouble().Should().BeGreaterThanOrEqualTo(value.GetProperty("value").GetDouble());
    }

    [Fact]
    public async Task Mcq_MmluWithFewShot_AndNoVector_ReportsTheModelAsItIs()
    {
        var test = world.Write("m_test.csv", "what is it,the,a,user,eat,B\nwhat is the user,the,a,user,eat,C\n");
        var dev = world.Write("m_dev.csv", "what is this,the,a,user,eat,A\nwhat is that,the,a,user,eat,D\n");

        var run = await Eval("--data", test, "--by", "letter", "--shots", "2", "--few-shot", dev, "--json");

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        json.RootElement.GetProperty("suite").GetString().Should().Be("mcq by letter, 2-shot");
        json.RootElement.GetProperty("unsteered").GetProperty("value").GetProperty("count").GetInt32().Should().Be(2);
        json.RootElement.GetProperty("vectors").GetArrayLength().Should().Be(0);
    }

    [Fact]
    public async Task Mcq_TwoVectorsAndLabels_GivesAMatrix()
    {
        var data = world.Write("l.jsonl", string.Concat(Enumerable.Range(0, 4).Select(i => $"{{\"prompt\": \"what {i}\", \"options\": [\"the\", \"a\"], \"labels\": [\"sparse\", \"dense\"]}}\n")));

        var run = await Eval("--data", data, "--vector", world.Vector, "--vector", world.Dense, "--controls", "0", "--json");

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        var matrix = json.RootElement.GetProperty("matrix");
        matrix.GetProperty("labels").EnumerateArray().Select(l => l.GetString()).Should().Equal("dense", "sparse");
        var rows = matrix.GetProperty("rows").EnumerateArray().ToList();
        rows.Select(r => r.GetProperty("name").GetString()).Should().Equal("unsteered", "sparse", "dense");
        rows.Should().OnlyContain(r => Math.Abs(r.GetProperty("shares").EnumerateArray().Sum(s => s.GetDouble()) - 1) < 1e-9);
        json.RootElement.GetProperty("vectors").EnumerateArray().Select(v => v.GetProperty("label").GetString()).Should().Equal("sparse", "dense");
    }

    [Fact]
    public async Task Mcq_SamePromptInValidation_IsRefusedUnlessAllowed()
    {
        var test = world.Write("q.jsonl", Questions);
        var validation = world.Write("v.jsonl", "{\"prompt\": \"other\", \"options\": [\"the\", \"a\"], \"answer\": 0}\n{\"prompt\": \"What is 3 \", \"options\": [\"the\", \"a\"], \"answer\": 0}\n");

        var refused = await Eval("--data", test, "--validation", validation, "--vector", world.Vector);
        var allowed = await Eval("--data", test, "--validation", validation, "--vector", world.Vector, "--allow-leak", "--controls", "0", "--strengths", "1,2");

        refused.ExitCode.Should().Be(3);
        refused.Error.Should().Contain("q.jsonl, line 4 is ").And.Contain("v.jsonl, line 2").And.Contain("--allow-leak");
        allowed.ExitCode.Should().Be(0, allowed.Error);
        allowed.Error.Should().Contain("warning:");
        allowed.Out.Should().Contain("chosen on validation");
    }

    [Theory]
    [InlineData("{\"prompt\": \"p\", \"options\": [\"a\"], \"answer\": 0}", "bad.jsonl, line 1", 3)]
    [InlineData("{\"question\": \"p\", \"answer\": 0}", "'options' is missing", 3)]
    [InlineData("{\"prompt\": \"p\", \"options\": [\"a\", \"b\"], \"labels\": [\"x\", \"y\"]}", "--label", 3)]
    [InlineData("", "holds no questions", 3)]
    public async Task Mcq_BadData_NamesItAndExitsWithBadInput(string content, string expected, int code)
    {
        var run = await Eval("--data", world.Write("bad.jsonl", content), "--vector", world.Vector);

        run.ExitCode.Should().Be(code, run.Error);
        run.Error.Should().Contain(expected).And.Contain("bad.jsonl");
        run.Out.Should().BeEmpty();
    }

    [Theory]
    [InlineData("--shots needs --few-shot", "--shots", "5")]
    [InlineData("'x' is no number", "--strengths", "1,x", "--validation", "v.jsonl")]
    [InlineData("--by 'maybe' is unknown", "--by", "maybe")]
    [InlineData("--controls -1 is out of range", "--controls", "-1")]
    public async Task Mcq_WrongUsage_IsNamed(string expected, params string[] args)
    {
        var run = await Eval(["--data", world.Write("q.jsonl", Questions), "--vector", world.Vector, .. args]);

        run.ExitCode.Should().Be(2);
        run.Error.Should().Contain(expected);
    }

    [Fact]
    public async Task Mcq_SaeOfAnotherLayer_IsRefused()
    {
        var other = world.In("other-sae.gguf");
        using (var sae = YaPO.Llama.Sae.SaeFile.Open(world.Sae))
        {
            YaPO.Llama.Sae.SaeWriter.Save(
                other, sae.Info with { Layer = 0 }, new YaPO.Llama.Sae.SaeWeights(sae.ReadEncoder(), sae.EncBias, sae.Threshold, sae.ReadDecoder(), sae.DecBias));
        }

        var run = await Eval("--data", world.Write("q.jsonl", Questions), "--vector", world.Vector, "--sae", other);

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("other-sae.gguf").And.Contain("layer 0").And.Contain("layer 1");
    }

    private async Task<CliRun> Eval(params string[] args) => await CliRun.Of(["eval", "mcq", "--model", world.Model, "--threads", "1", "--workers", "1", .. args]);
}

using System.Text.Json;
using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Evaluation;

using YaPO.Llama.Evaluation;

/// <summary>The demo's own report, found again.</summary>
public sealed class DemoEvaluationTests : NativeTest
{
    private static readonly string Demo = Path.Combine(Repository.Root, "models", "demo");

    [Fact]
    public void Egypt_AllTestQuestions_GivesTheFigureOfTheReport()
    {
        using var report = JsonDocument.Parse(File.ReadAllText(Path.Combine(Demo, "report.json")));
        var egypt = report.RootElement.GetProperty("cultures").EnumerateArray().Single(c => c.GetProperty("culture").GetString() == "egypt");
        var expected = egypt.GetProperty("steered").GetProperty("target").Deserialize<Interval>(JsonSerializerOptions.Web);
        using var model = LlamaModel.Load(Path.Combine(Demo, "demo-f16.gguf"));
        using var scorer = new SteeredScorer(model);
        var subject = SubjectVector.Of("egypt", SteeringFile.Load(Path.Combine(Demo, "vectors", "egypt.ysv")).Vectors[0], egypt.GetProperty("strength").GetDouble());

        var outcomes = new ChoiceSuite(MultipleChoiceItem.Read(Path.Combine(Demo, "data", "questions-test.jsonl")), new ChoiceSuiteOptions { Label = "egypt" }).Run(scorer, subject.At(subject.Strength));

        Interval.Of(outcomes).Should().Be(expected);
    }

    [Fact]
    public void EvalMcq_Interrupted_LeavesCleanly()
    {
        using var process = CliProcess.Start(
            Repository.Root, "eval", "mcq", "--vector", Path.Combine(Demo, "vectors", "egypt.ysv"), "--model", Path.Combine(Demo, "demo-f16.gguf"),
            "--data", Path.Combine(Demo, "data", "questions-test.jsonl"), "--controls", "99", "--workers", "2", "--threads", "1");
        process.WaitUntil(p => p.Error.Contains("vector ", StringComparison.Ordinal), "the start of the evaluation");
        Thread.Sleep(300);

        process.Interrupt();
        var run = process.Finish();

        run.ExitCode.Should().Be(130, run.Error);
        run.Error.Should().Contain("interrupted").And.NotContain("   at ");
        run.Out.Should().BeEmpty();
    }

    [Fact]
    public void EvalMcq_SubsetAsAProcess_ReportsVectorPromptAndControls()
    {
        using var folder = new TemporaryFolder();
        var lines = File.ReadLines(Path.Combine(Demo, "data", "questions-test.jsonl")).Where((_, i) => i % 22 == 0)
            .Concat(File.ReadLines(Path.Combine(Demo, "data", "localized-test.jsonl")).Where((_, i) => i % 22 == 0));
        var data = folder.Write("subset.jsonl", string.Join('\n', lines));

        var run = CliProcess.Run(
            Repository.Root, "", "eval", "mcq", "--vector", Path.Combine(Demo, "vectors", "egypt.ysv"), "--model", Path.Combine(Demo, "demo-f16.gguf"), "--data", data,
            "--prompt-only", "Think of Egypt.", "--controls", "3", "--control-items", "8", "--json", "--workers", "1", "--threads", "1");

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        json.RootElement.GetProperty("verdict").GetString().Should().StartWith("egypt raises the share of questions answered as 'egypt'").And.Contain("the prompt");
        var vector = json.RootElement.GetProperty("vectors")[0];
        vector.GetProperty("label").GetString().Should().Be("egypt", "the data has the vector's name as a label");
        vector.GetProperty("zero_is_unsteered").GetBoolean().Should().BeTrue();
        var rows = vector.GetProperty("rows").EnumerateArray().ToDictionary(r => r.GetProperty("kind").GetString()!);
        rows.Keys.Should().Equal("unsteered", "prompt_only", "vector", "flattened", "sign_flip");
        double Value(string kind) => rows[kind].GetProperty("value").GetProperty("value").GetDouble();
        Value("vector").Should().BeGreaterThan(Value("unsteered") + 0.3);
        Value("sign_flip").Should().BeLessThan(Value("vector"));
        rows["vector"].GetProperty("localization").GetProperty("localized").GetProperty("count").GetInt32().Should().BePositive();
        vector.GetProperty("random")[0].GetProperty("count").GetInt32().Should().Be(3);
        json.RootElement.GetProperty("notes").EnumerateArray().Should().Contain(n => n.GetString()!.Contains("--sae", StringComparison.Ordinal));
        json.RootElement.GetProperty("throughput").GetProperty("tokens_per_second").GetDouble().Should().BePositive();
        run.Out.Should().NotContain("NaN");
    }
}

using System.Text.Json;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Cli;

/// <summary>generate and score on a random model, in this process.</summary>
public sealed class GenerateScoreTests(CliWorld world) : NativeTest, IClassFixture<CliWorld>
{
    private static readonly string[] Quick = ["--threads", "1"];

    [Fact]
    public async Task Generate_SamePromptTwice_GivesTheSameTextOnStdout()
    {
        var first = await Generate("-p", "what is the user", "-n", "12", "--model", world.Model);
        var second = await Generate("-p", "what is the user", "-n", "12", "--model", world.Model);

        first.ExitCode.Should().Be(0, first.Error);
        first.Out.Should().Be(second.Out).And.EndWith("\n");
        first.Error.Should().Contain(world.Model).And.Contain("as given");
    }

    /// <summary>The longest answer that can be asked for is as long as the context allows.</summary>
    [Fact]
    public async Task Generate_AnswerAsLongAsCanBeAsked_FillsTheContext()
    {
        var run = await Generate("-p", "what is the user", "-n", $"{int.MaxValue}", "--model", world.Model, "--json");
        var pairs = await CliRun.Of(
            "data", "rejected", "--model", world.Model, "--input", world.Write("long.jsonl", "{\"prompt\": \"what\", \"chosen\": \"the\"}\n"), "--output", world.In("long-out.jsonl"), "-n", $"{int.MaxValue}");

        run.ExitCode.Should().Be(0, run.Error);
        pairs.ExitCode.Should().Be(2);
        pairs.Error.Should().Contain("KV cells").And.Contain("-n");
    }

    [Fact]
    public async Task Generate_VectorWithoutModel_FindsItByFingerprintAndSaysSo()
    {
        var run = await Generate("-p", "what", "-n", "4", "--vector", world.Vector + ":2");

        run.ExitCode.Should().Be(0, run.Error);
        run.Error.Should().Contain("model.gguf").And.Contain("fingerprint").And.Contain("strength 2").And.Contain("layer 1").And.NotContain("other.gguf");
    }

    [Fact]
    public async Task Generate_StrengthZero_EqualsNoVector()
    {
        var plain = await Generate("-p", "eat the model", "-n", "16", "--model", world.Model);
        var zero = await Generate("-p", "eat the model", "-n", "16", "--model", world.Model, "--vector", world.Vector + ":0");
        var steered = await Generate("-p", "eat the model", "-n", "16", "--model", world.Model, "--vector", world.Vector + ":3");

        zero.Out.Should().Be(plain.Out);
        steered.ExitCode.Should().Be(0, steered.Error);
        steered.Out.Should().NotBe(plain.Out, "the vector is large against this model's residual stream");
    }

    [Fact]
    public async Task Generate_InputFile_GivesOneJsonLinePerPromptInOrder()
    {
        var input = world.Write("prompts.jsonl", """
            {"prompt": "what is the user", "id": {"n": 7}}

            {"prompt": [{"role": "user", "content": "eat"}, {"role": "assistant", "content": "the"}, {"role": "user", "content": "what?"}]}
            """);

        var run = await Generate("--input", input, "-n", "5", "--vector", world.Vector, "--compare");

        run.ExitCode.Should().Be(0, run.Error);
        var lines = run.Out.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement).ToList();
        lines.Should().HaveCount(2);
        lines[0].GetProperty("index").GetInt32().Should().Be(0);
        lines[0].GetProperty("id").GetProperty("n").GetInt32().Should().Be(7);
        lines[1].TryGetProperty("id", out _).Should().BeFalse();
        foreach (var line in lines)
        {
            line.GetProperty("text").ValueKind.Should().Be(JsonValueKind.String);
            line.GetProperty("baseline").ValueKind.Should().Be(JsonValueKind.String);
            line.GetProperty("tokens").GetArrayLength().Should().BeInRange(0, 5);
            line.GetProperty("finish").GetString().Should().BeOneOf("stop", "length");
        }
    }

    [Fact]
    public async Task Generate_SecondPromptOfAFile_GivesWhatItGivesAlone()
    {
        var input = world.Write("two.jsonl", "{\"prompt\": \"the model\"}\n{\"prompt\": \"what is eaten\"}\n");

        var both = await Generate("--input", input, "-n", "8", "--vector", world.Vector);
        var alone = await Generate("-p", "what is eaten", "-n", "8", "--vector", world.Vector, "--json");

        var second = JsonDocument.Parse(both.Out.Split('\n')[1]).RootElement.GetProperty("tokens");
        var single = JsonDocument.Parse(alone.Out).RootElement.GetProperty("tokens");
        second.EnumerateArray().Select(t => t.GetInt32()).Should().Equal(single.EnumerateArray().Select(t => t.GetInt32()));
    }

    [Fact]
    public async Task Score_TextAndItsTokens_GiveTheSameLogProbabilities()
    {
        var text = world.Write("text.jsonl", "{\"prompt\": \"what is\", \"completion\": \" the user\"}\n");
        var byText = ScoreLine(await Score(text));
        using var model = YaPO.Llama.Models.LlamaModel.Load(world.Model, new() { VocabularyOnly = true });
        var prompt = string.Join(',', model.Tokenize("what is"));
        var completion = string.Join(',', model.Tokenize(" the user", addSpecial: false));
        var tokens = world.Write("tokens.jsonl", $"{{\"prompt_tokens\": [{prompt}], \"completion_tokens\": [{completion}]}}\n");

        var byTokens = ScoreLine(await Score(tokens, "--top", "3"));

        byTokens.GetProperty("logprob").GetDouble().Should().Be(byText.GetProperty("logprob").GetDouble()).And.BeNegative();
        var each = byTokens.GetProperty("token_logprobs").EnumerateArray().Select(x => x.GetDouble()).ToList();
        each.Sum().Should().BeApproximately(byTokens.GetProperty("logprob").GetDouble(), 1e-12);
        string.Join(',', byTokens.GetProperty("tokens").EnumerateArray()).Should().Be(completion);
        var top = byTokens.GetProperty("top");
        top.GetArrayLength().Should().Be(each.Count);
        foreach (var position in top.EnumerateArray())
        {
            position.GetArrayLength().Should().Be(3);
            position[0].GetProperty("logprob").GetDouble().Should().BeGreaterThanOrEqualTo(position[1].GetProperty("logprob").GetDouble());
            position[0].GetProperty("token").ValueKind.Should().Be(JsonValueKind.Number);
        }

        byText.TryGetProperty("top", out _).Should().BeFalse();
    }

    [Fact]
    public async Task Score_Parallel_EqualsOneByOneToRounding()
    {
        var input = world.Write("many.jsonl", string.Concat(Enumerable.Range(0, 9).Select(i => $"{{\"prompt\": \"what is the\", \"completion\": \" user {i}\"}}\n")));

        var alone = await Score(input, "--vector", world.Vector);
        var together = await Score(input, "--vector", world.Vector, "--parallel", "4");

        var pairs = Logprobs(alone).Zip(Logprobs(together)).ToList();
        pairs.Should().HaveCount(9);
        pairs.Should().OnlyContain(p => Math.Abs(p.First - p.Second) < 1e-4);
    }

    [Theory]
    [InlineData("{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"", "line 2")]
    [InlineData("{\"prompt\": \"a\"}", "completion")]
    [InlineData("{\"prompt_tokens\": [2], \"completion_tokens\": [99999]}", "token id 99999")]
    [InlineData("{\"prompt_tokens\": [], \"completion_tokens\": [7]}", "line 1")]
    [InlineData("", "holds no line")]
    public async Task Score_BadLine_NamesItAndExitsWithBadInput(string content, string expected)
    {
        var run = await Score(world.Write("bad.jsonl", content));

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("bad.jsonl").And.Contain(expected);
        run.Out.Should().BeEmpty();
    }

    [Fact]
    public async Task Score_LongerThanTheContext_NamesTheLine()
    {
        var run = await Score(world.Write("long.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"the the the the the the the the\", \"completion\": \"b\"}\n"), "--ctx-size", "4");

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("long.jsonl, line 2").And.Contain("--ctx-size");
    }

    [Fact]
    public async Task Generate_VectorOfAnotherModel_ShowsBothFingerprintsAndTheWayOut()
    {
        var refused = await Generate("-p", "what", "-n", "2", "--model", world.OtherModel, "--vector", world.Vector);
        var allowed = await Generate("-p", "what", "-n", "2", "--model", world.OtherModel, "--vector", world.Vector, "--allow-mismatch");

        refused.ExitCode.Should().Be(3);
        refused.Error.Should().Contain(YaPO.Llama.Models.ModelFingerprint.Compute(world.Model).Fingerprint[..12])
            .And.Contain(YaPO.Llama.Models.ModelFingerprint.Compute(world.OtherModel).Fingerprint[..12]).And.Contain("--allow-mismatch");
        allowed.ExitCode.Should().Be(0, allowed.Error);
        allowed.Error.Should().Contain("warning:");
    }

    [Theory]
    [InlineData(new[] { "-p", "" }, 2, "empty")]
    [InlineData(new[] { "-p", "what", "--input", "x.jsonl" }, 2, "either")]
    [InlineData(new string[0], 2, "either")]
    [InlineData(new[] { "-p", "what", "--greedy", "--temp", "1" }, 2, "exclude")]
    [InlineData(new[] { "-p", "what", "--vector", "no-such.ysv" }, 3, "no-such.ysv")]
    [InlineData(new[] { "-p", "what", "--ctx-size", "3" }, 3, "--ctx-size")]
    public async Task Generate_BadInput_SaysWhatAndExitsAsDocumented(string[] args, int code, string expected)
    {
        var run = await Generate([.. args, "--model", world.Model]);

        run.ExitCode.Should().Be(code, run.Error);
        run.Error.Should().Contain(expected).And.NotContain("   at ");
        run.Out.Should().BeEmpty();
    }

    [Fact]
    public async Task Generate_ModelThatIsNoModel_ExitsWithBadInput()
    {
        var run = await Generate("-p", "what", "--model", world.Write("text.gguf", "this is text"));

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("text.gguf");
    }

    private static async Task<CliRun> Generate(params string[] args) => await CliRun.Of(["generate", .. args, .. Quick]);

    private async Task<CliRun> Score(string input, params string[] args) =>
        await CliRun.Of(["score", "--model", world.Model, "--input", input, "--json", .. args, .. Quick]);

    private static JsonElement ScoreLine(CliRun run)
    {
        run.ExitCode.Should().Be(0, run.Error);
        return JsonDocument.Parse(run.Out.TrimEnd()).RootElement;
    }

    private static List<double> Logprobs(CliRun run)
    {
        run.ExitCode.Should().Be(0, run.Error);
        return run.Out.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement.GetProperty("logprob").GetDouble()).ToList();
    }
}

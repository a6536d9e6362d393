using System.Text.Json;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Cli;

namespace YaPO.Llama.Tests.Training;

/// <summary>The two training commands as processes: killed, interrupted, resumed.</summary>
public sealed class TrainCommandTests : IDisposable
{
    private readonly TinyWorld _world = new();

    public void Dispose() => _world.Dispose();

    [Fact]
    public void Train_KilledAndInterruptedThenResumed_WritesTheBytesOfAnUninterruptedRun()
    {
        CliProcess.Run(_world.Folder, "", Train("whole.ysv")).ExitCode.Should().Be(0);
        string[] parts = [.. Train("parts.ysv"), "--checkpoint", "state", "--checkpoint-every", "0", "--resume", "--log", "log.jsonl"];
        using (var killed = CliProcess.Start(_world.Folder, parts))
        {
            killed.WaitUntil(_ => LogLines() >= 40, "step 40");
            killed.Kill();
        }

        File.Exists(_world["parts.ysv"]).Should().BeFalse();
        using (var interrupted = CliProcess.Start(_world.Folder, parts))
        {
            interrupted.WaitUntil(_ => LogLines() >= 120, "step 120");
            interrupted.Interrupt();
            var stopped = interrupted.Finish();
            stopped.ExitCode.Should().Be(130, stopped.Error);
            stopped.Error.Should().Contain("--resume");
        }

        File.Exists(_world["parts.ysv"]).Should().BeFalse();
        var end = CliProcess.Run(_world.Folder, "", parts);
        end.ExitCode.Should().Be(0, end.Error);
        File.ReadAllBytes(_world["parts.ysv"]).Should().Equal(File.ReadAllBytes(_world["whole.ysv"]));
        LogLines().Should().Be(240);
    }

    [Fact]
    public void Train_SaeThatCannotBeTrainedOn_IsRefusedBeforeAnythingIsCaptured()
    {
        var rows = new float[8 * TinyWorld.Width];
        Array.Fill(rows, 0.1f);
        SaeWriter.Save(
            _world["topk.gguf"],
            new SaeInfo { Layer = TinyWorld.Layer, DModel = TinyWorld.Width, Width = 8, Activation = SaeActivation.TopK, TopK = 2 },
            new SaeWeights(rows, new float[8], new float[8], rows, new float[TinyWorld.Width]));
        File.WriteAllBytes(_world["params.npz"], [0x50, 0x4B, 3, 4, .. new byte[60]]);

        var topK = CliProcess.Run(_world.Folder, "", "train", "--model", _world.Model, "--sae", "topk.gguf", "--data", _world.Data, "--output", "v.ysv");
        var published = CliProcess.Run(_world.Folder, "", "train", "--model", _world.Model, "--sae", "params.npz", "--data", _world.Data, "--output", "v.ysv");

        topK.ExitCode.Should().Be(3);
        topK.Error.Should().Contain("topk.gguf is a TopK SAE").And.Contain("--as-threshold").And.Contain("bipo").And.NotContain("capturing");
        published.ExitCode.Should().Be(3);
        published.Error.Should().Contain("params.npz").And.Contain("sae convert");
    }

    [Theory]
    [InlineData("tune")]
    [InlineData("eval methods")]
    [InlineData("eval transfer")]
    public void Experiment_NeutralTextOrKnowledgeThatCannotBeRead_IsRefusedBeforeTraining(string command)
    {
        File.WriteAllText(_world["empty.jsonl"], "");
        File.WriteAllText(_world["neutral.txt"], "the tea is here with bread and rice in water");
        File.WriteAllText(_world["test.jsonl"], File.ReadAllText(_world.Validation).Replace("eat", "drink", StringComparison.Ordinal));
        File.Copy(_world.Model, _world["other.gguf"]);
        string[] all =
        [
            .. command.Split(' '), "--model", _world.Model, "--sae", _world.Sae, "--data", _world.Data, "--validation", _world.Validation, "--test", "test.jsonl", "--steps", "2",
            .. command == "tune" ? new[] { "--output", "v.ysv" } : [], .. command == "eval transfer" ? new[] { "--model", "other.gguf" } : [],
        ];

        var neutral = CliProcess.Run(_world.Folder, "", [.. all, "--neutral", "empty.jsonl", "--checkpoint", "one"]);
        var knowledge = CliProcess.Run(_world.Folder, "", [.. all, "--neutral", "neutral.txt", "--validation-knowledge", "empty.jsonl", "--checkpoint", "two"]);

        foreach (var run in new[] { neutral, knowledge })
        {
            run.ExitCode.Should().Be(3, run.Error);
            run.Error.Should().Contain("empty.jsonl");
        }

        Directory.EnumerateFiles(_world.Folder, "*.ysv", SearchOption.AllDirectories).Should().BeEmpty("nothing was trained");
    }

    [Fact]
    public void Train_ValidatedOnItsOwnPrompts_SaysThatThisCannotStopIt()
    {
        var own = CliProcess.Run(_world.Folder, "", [.. Train("own.ysv", steps: 2), "--validation-data", _world.Data]);
        own.ExitCode.Should().Be(0, own.Error);
        own.Error.Should().MatchRegex(@"(\d+) of \1 validation pairs in .* have a prompt that training pairs have too");

        var apart = CliProcess.Run(_world.Folder, "", [.. Train("apart.ysv", steps: 2), "--validation-data", _world.Validation]);
        apart.ExitCode.Should().Be(0, apart.Error);
        apart.Error.Should().NotContain("training pairs have too");
    }

    [Theory]
    [InlineData("yapo")]
    [InlineData("bipo")]
    [InlineData("caa")]
    [InlineData("sas")]
    public void Train_EveryMethod_WritesAVectorAndSaysWhatItDoes(string method)
    {
        string[] own = method switch
        {
            "yapo" => Train("v.ysv", steps: 8),
            "bipo" => [.. Common("v.ysv"), "--layer", "0", .. Steps(8)],
            "caa" => [.. Common("v.ysv"), "--layer", "0", "--answer-tokens", "last"],
            _ => [.. Common("v.ysv"), "--sae", _world.Sae, "--tau", "0.6", "--answer-tokens", "last"],
        };
        var run = CliProcess.Run(_world.Folder, "", [.. own, "--method", method, "--json"]);
        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        json.RootElement.GetProperty("method").GetString().Should().Be(method);
        json.RootElement.GetProperty("impact").GetProperty("relative_mean").GetDouble().Should().BeGreaterThan(0);
        var file = SteeringFile.Load(_world["v.ysv"]);
        file.Train!.Method.Should().Be(method);
        file.Vectors[0].Kind.Should().Be(method is "yapo" or "sas" ? VectorKind.Sparse : VectorKind.Dense);
    }

    [Fact]
    public void Train_Report_PlotsTheLog()
    {
        var run = CliProcess.Run(_world.Folder, "", [.. Train("v.ysv", steps: 20), "--validation-data", _world.Validation, "--report", "train.html", "--log", "log.jsonl"]);
        run.ExitCode.Should().Be(0, run.Error);
        var html = File.ReadAllText(_world["train.html"]);
        html.Should().Contain("Training of v").And.Contain("Lowest validation loss");
        var start = html.IndexOf("id=\"report\">", StringComparison.Ordinal) + "id=\"report\">".Length;
        using var embedded = JsonDocument.Parse(html[start..html.IndexOf("</script>", start, StringComparison.Ordinal)]);
        embedded.RootElement.EnumerateArray().Select(l => l.GetRawText()).Should().Equal(File.ReadAllLines(_world["log.jsonl"]));
        CliProcess.Run(_world.Folder, "", [.. Common("c.ysv"), "--layer", "0", "--method", "caa", "--report", "caa.html"]).ExitCode.Should().Be(0);
        File.ReadAllText(_world["caa.html"]).Should().Contain("Nothing was optimized");
    }

    [Fact]
    public void SaeTrain_KilledAndInterruptedThenResumed_WritesTheBytesOfAnUninterruptedRun()
    {
        CliProcess.Run(_world.Folder, "", SaeTrain("whole.gguf")).ExitCode.Should().Be(0);
        string[] parts = [.. SaeTrain("parts.gguf"), "--checkpoint", "state", "--checkpoint-every", "0", "--resume", "--log", "log.jsonl"];
        using (var killed = CliProcess.Start(_world.Folder, parts))
        {
            killed.WaitUntil(_ => LogLines() >= 60, "step 60");
            killed.Kill();
        }

        using (var interrupted = CliProcess.Start(_world.Folder, parts))
        {
            interrupted.WaitUntil(_ => LogLines() >= 150, "step 150");
            interrupted.Interrupt();
            var stopped = interrupted.Finish();
            stopped.ExitCode.Should().Be(130, stopped.Error);
            stopped.Error.Should().Contain("--resume");
        }

        File.Exists(_world["parts.gguf"]).Should().BeFalse();
        var end = CliProcess.Run(_world.Folder, "", parts);
        end.ExitCode.Should().Be(0, end.Error);
        end.Out.Should().Contain("explained variance");
        File.ReadAllBytes(_world["parts.gguf"]).Should().Equal(File.ReadAllBytes(_world["whole.gguf"]));
        LogLines().Should().Be(300);
    }

    [Fact]
    public void SaeTrain_TopK_WritesEitherForm()
    {
        var top = CliProcess.Run(_world.Folder, "", [.. SaeTrain("top.gguf", rows: 3200, sparsity: ["--activation", "topk", "--k", "5"])]);
        top.ExitCode.Should().Be(0, top.Error);
        top.Error.Should().Contain("of memory").And.Contain("--as-threshold");
        var info = CliProcess.Run(_world.Folder, "", "sae", "info", "top.gguf", "--json");
        JsonDocument.Parse(info.Out).RootElement.GetProperty("activation").GetString().Should().Be("topk");

        var threshold = CliProcess.Run(_world.Folder, "", [.. SaeTrain("threshold.gguf", rows: 3200, sparsity: ["--activation", "topk", "--k", "5", "--as-threshold"]), "--json"]);
        threshold.ExitCode.Should().Be(0, threshold.Error);
        var root = JsonDocument.Parse(threshold.Out).RootElement;
        root.GetProperty("activation").GetString().Should().Be("jumprelu");
        root.GetProperty("trained_l0").GetDouble().Should().BeInRange(4, 5);
        root.GetProperty("trained_explained_variance").GetDouble().Should().BePositive();

        CliProcess.Run(_world.Folder, "", [.. SaeTrain("x.gguf"), "--activation", "gated"]).ExitCode.Should().Be(2);
        CliProcess.Run(_world.Folder, "", [.. SaeTrain("x.gguf"), "--as-threshold"]).ExitCode.Should().Be(2);
        CliProcess.Run(_world.Folder, "", [.. SaeTrain("x.gguf", sparsity: ["--activation", "topk", "--k", "49"])]).ExitCode.Should().Be(2);
        File.Exists(_world["x.gguf"]).Should().BeFalse();
    }

    [Theory]
    [InlineData("caa")]
    [InlineData("bipo")]
    public void Train_AnswersThatDoNotDiffer_IsRefusedAndWritesNothing(string method)
    {
        File.WriteAllText(_world["same.jsonl"], "{\"prompt\": \"what is\", \"chosen\": \"the tea\", \"rejected\": \"the tea\"}\n{\"prompt\": \"what\", \"chosen\": \"a user\", \"rejected\": \"a user\"}\n");

        var run = CliProcess.Run(_world.Folder, "", [.. Common("zero.ysv").Select(a => a == _world.Data ? _world["same.jsonl"] : a), "--layer", "0", "--method", method, "--json", .. method == "caa" ? [] : Steps(2)]);

        run.ExitCode.Should().Be(1, run.Error);
        run.Error.Should().Contain("the vector of block 0 is nothing but rounding").And.NotContain("defect");
        File.Exists(_world["zero.ysv"]).Should().BeFalse();
    }

    [Fact]
    public void Train_BadUsageAndBadInput_HaveTheirExitCodes()
    {
        CliRun Run(params string[] extra) => CliProcess.Run(_world.Folder, "", [.. Train("v.ysv", steps: 2), .. extra]);
        Run("--resume").ExitCode.Should().Be(2);
        Run("--batch-size", "0").ExitCode.Should().Be(2);
        Run("--beta", "0").ExitCode.Should().Be(2);
        CliProcess.Run(_world.Folder, "", [.. Common("v.ysv"), "--sae", _world.Sae, "--learning-rate", "0"])
            .Should().Match<CliRun>(run => run.ExitCode == 2 && run.Error.Contains("learning rate 0 must be") && !run.Error.Contains("capturing"), "not after an hour of capture");
        Run("--engine", "jax").ExitCode.Should().Be(2);
        Run("--torch-type", "bf16").ExitCode.Should().Be(2);
        CliProcess.Run(_world.Folder, "", [.. Common("v.ysv"), "--layer", "0", "--method", "caa", "--engine", "torch"])
            .Should().Match<CliRun>(run => run.ExitCode == 2 && run.Error.Contains("computes gradients"));
        Run("--engine", "torch").Should().Match<CliRun>(run => run.ExitCode == 2 && run.Error.Contains("built without TorchSharp") && run.Error.Contains("-p:WithTorchSharp=true"));
        Run("--positions", "nowhere").ExitCode.Should().Be(2);
        CliProcess.Run(_world.Folder, "", "train", "--model", _world.Model, "--sae", _world.Sae, "--layer", "1", "--data", _world.Data, "--output", "v.ysv").ExitCode.Should().Be(3);
        var missing = CliProcess.Run(_world.Folder, "", "train", "--model", _world.Model, "--data", "none.jsonl", "--output", "v.ysv", "--method", "caa", "--layer", "0");
        // A log is refused before an hour of capture, and never in place of the data.
        var log = Run("--log", Path.Combine("no-folder", "log.jsonl"));
        (log.ExitCode, log.Error).Should().Match<(int Code, string Error)>(x => x.Code == 1 && x.Error.Contains("no-folder") && !x.Error.Contains("capturing"));
        var before = File.ReadAllText(_world.Data);
        Run("--log", _world.Data).Should().Match<CliRun>(run => run.ExitCode == 2 && run.Error.Contains("is also an input"));
        File.ReadAllText(_world.Data).Should().Be(before);
        (missing.ExitCode, missing.Error).Should().Match<(int Code, string Error)>(x => x.Code == 3 && x.Error.Contains("none.jsonl"));
        File.Exists(_world["v.ysv"]).Should().BeFalse();
    }

    private string[] SaeTrain(string output, int rows = 19200, string[]? sparsity = null)
    {
        File.WriteAllLines(_world["text.jsonl"], Enumerable.Range(0, 120).Select(i => $$"""{"text": "what is the tea of model {{i}} in the water, user?"}"""));
        return
        [
            "sae", "train", "--model", _world.Model, "--data", "text.jsonl", "--layer", "0", "--output", output, "--latents", "48", .. sparsity ?? ["--target-l0", "6"], "--rows", $"{rows}",
            "--batch-size", "64", "--block-rows", "512", "--evaluation-rows", "64", "--max-tokens", "32", "--threads", "1", "--seed", "3", "--name", "s",
        ];
    }

    private string[] Train(string output, int steps = 200) =>
        [.. Common(output), "--sae", _world.Sae, "--layer", "0", .. Steps(steps), "--refit-steps", $"{steps / 5}", "--max-features", "16"];

    private string[] Common(string output) => ["train", "--model", _world.Model, "--data", _world.Data, "--output", output, "--threads", "1", "--seed", "5", "--name", "v"];

    private static string[] Steps(int steps) => ["--steps", $"{steps}", "--batch-size", "2", "--learning-rate", "0.02"];

    private int LogLines()
    {
        try
        {
            using var reader = new StreamReader(new FileStream(_world["log.jsonl"], FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
            return reader.ReadToEnd().Count(c => c == '\n');
        }
        catch (FileNotFoundException)
        {
            return 0;
        }
    }
}

using System.Text.Json;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Training;

namespace YaPO.Llama.Tests.Cli;

/// <summary>
/// --device, --gpu-layers and --rpc as scripts use them: blocks on devices whose memory is not the host's, against the same command on the CPU. F32 throughout; the
/// kernels are compared in tests/native/device_test.cpp.
/// </summary>
public sealed class DeviceTests(CliWorld world) : IClassFixture<CliWorld>
{
    [Theory]
    [MemberData(nameof(OtherDevice.Names), MemberType = typeof(OtherDevice))]
    public void ScoreSteered_AgreesWithTheCpu(string name)
    {
        using var other = new OtherDevice(name, world.Folder);
        string Score(string vector, params string[] device)
        {
            var run = other.Run(
                "{\"prompt\": \"what is the model\", \"completion\": \" the user\"}\n",
                ["score", "--model", "model.gguf", "--input", "-", "--vector", vector, "--json", "--threads", "1", "--quiet", .. device]);
            run.ExitCode.Should().Be(0, run.Error);
            return run.Out;
        }

        double[] LogProbabilities(string json) => [.. JsonDocument.Parse(json).RootElement.GetProperty("token_logprobs").EnumerateArray().Select(p => p.GetDouble())];
        string[] cpu = ["--device", "cpu"];
        var unsteered = LogProbabilities(Score("sparse.ysv:0", cpu));
        foreach (var vector in new[] { "sparse.ysv:2", "dense.ysv:-1.5", "sparse.ysv:0" })
        {
            var wanted = LogProbabilities(Score(vector, cpu));
            foreach (string[] device in new[] { other.Found, other.Arguments, [.. other.Found, "--gpu-layers", "2"] })
            {
                var found = LogProbabilities(Score(vector, device));
                found.Zip(wanted, (f, w) => Math.Abs(f - w)).Max().Should().BeLessThan(other.Tolerance);
            }

            wanted.Zip(unsteered, (f, w) => Math.Abs(f - w)).Max().Should().Match(d => vector == "sparse.ysv:0" ? d == 0 : d > 0.01);
        }

        Score("sparse.ysv:0", other.Arguments).Should().Be(Score("dense.ysv:0", other.Arguments), "strength 0 is no vector, on every device");
    }

    [Theory]
    [MemberData(nameof(OtherDevice.Names), MemberType = typeof(OtherDevice))]
    public void Inspect_AgreesWithTheCpu(string name)
    {
        using var other = new OtherDevice(name, world.Folder);
        List<(int Feature, double Activation)> Features(params string[] device)
        {
            var run = other.Run("", ["inspect", "--model", "model.gguf", "--sae", "sae.gguf", "-p", "what is the user", "--top", "5", "--json", "--threads", "1", "--quiet", .. device]);
            run.ExitCode.Should().Be(0, run.Error);
            return [.. JsonDocument.Parse(run.Out).RootElement.GetProperty("tokens").EnumerateArray()
                .SelectMany(t => t.GetProperty("features").EnumerateArray())
                .Select(f => (f.GetProperty("feature").GetInt32(), f.GetProperty("activation").GetDouble()))];
        }

        var wanted = Features("--device", "cpu");
        var found = Features(other.Arguments);
        found.Select(f => f.Feature).Should().Equal(wanted.Select(f => f.Feature)).And.NotBeEmpty();
        found.Zip(wanted, (f, w) => Math.Abs(f.Activation - w.Activation) / w.Activation).Max().Should().BeLessThan(other.Tolerance);
    }

    [Theory]
    [MemberData(nameof(OtherDevice.Names), MemberType = typeof(OtherDevice))]
    public void Train_CapturesWhatTheCpuDoes(string name)
    {
        using var tiny = new TinyWorld();
        using var other = new OtherDevice(name, tiny.Folder);
        foreach (var method in new[] { "caa", "yapo" })
        {
            string[] own = method == "caa"
                ? ["--layer", "0"]
                : ["--sae", tiny.Sae, "--steps", "10", "--refit-steps", "2", "--batch-size", "2", "--learning-rate", "0.02", "--seed", "5"];
            float[] Train(string output, params string[] device)
            {
                var run = other.Run(
                    "",
                    ["train", "--method", method, .. own, "--model", tiny.Model, "--data", tiny.Data, "--output", output, "--threads", "1", "--name", "v", .. device]);
                run.ExitCode.Should().Be(0, run.Error);
                return SteeringFile.Load(tiny[output]).Vectors[0].Value;
            }

            var wanted = Train("cpu.ysv", "--device", "cpu");
            var found = Train("other.ysv", other.Found);
            found.Should().HaveSameCount(wanted);
            if (method == "yapo" && !other.SameCode)
            {
                found.Should().OnlyContain(v => float.IsFinite(v)).And.Contain(v => v != 0);
                continue; // Adam's steps have one size: where a gradient is near zero, rounding decides their sign
            }

            found.Zip(wanted, (f, w) => Math.Abs(f - w)).Max().Should().BeLessThan((float)other.Tolerance * wanted.Max(Math.Abs), method);
        }
    }

    /// <summary>The model that ships, Gemma-2 in shape with heads of 64, and its vector, as a user would: the same words as on the CPU.</summary>
    [Theory]
    [MemberData(nameof(OtherDevice.NamesBesidesMesa), MemberType = typeof(OtherDevice))]
    public void Chat_ShippedDemo_AnswersAsOnTheCpu(string name)
    {
        using var other = new OtherDevice(name, world.Folder);
        var demo = Path.Combine(Repository.Root, "models", "demo");
        string Answer(params string[] device)
        {
            var run = other.Run(
                "what do people eat in the morning\n",
                ["chat", "--model", Path.Combine(demo, "demo-q8_0.gguf"), "--vector", Path.Combine(demo, "vectors", "morocco.ysv"), "--allow-mismatch", "--max-tokens", "8", "--threads", "1", .. device]);
            run.ExitCode.Should().Be(0, run.Error);
            return run.Out;
        }

        Answer(other.Arguments).Should().Be(Answer("--device", "cpu")).And.NotBeEmpty();
    }

    /// <summary>Commands that measure, on many sequences at once: the CPU's figures. Not on Mesa's driver for the processor, in which they crash (docs/devices.md).</summary>
    [Theory]
    [MemberData(nameof(OtherDevice.NamesBesidesMesa), MemberType = typeof(OtherDevice))]
    public void Measurements_AgreeWithTheCpu(string name)
    {
        world.Write("text.txt", "what is the model\n\nthe user is a model of the user\n\nwhat the user is\n");
        world.Write("questions.jsonl", """
            {"prompt": "what is the model", "options": [" the user", " a model"], "answer": 0, "topic": "a"}
            {"prompt": "what is the user", "options": [" the model", " what"], "answer": 1, "topic": "b"}

            """);
        using var other = new OtherDevice(name, world.Folder);
        JsonElement Run(string[] command, string[] device)
        {
            var run = other.Run("", [.. command, "--model", "model.gguf", "--threads", "1", "--json", "--quiet", .. device]);
            run.ExitCode.Should().Be(0, "{0}: {1}", string.Join(' ', command), run.Error);
            return JsonDocument.Parse(run.Out).RootElement;
        }

        void Compare(string[] command, Func<JsonElement, double[]> figures)
        {
            var wanted = figures(Run(command, ["--device", "cpu"]));
            // A random SAE explains a variance far below 0: large figures relative to themselves.
            figures(Run(command, other.Arguments)).Zip(wanted, (f, w) => Math.Abs(f - w) / Math.Max(1, Math.Abs(w))).Max().Should().BeLessThan(other.Tolerance, string.Join(' ', command));
        }

        double[] Details(JsonElement report) => [.. report.GetProperty("vectors")[0].GetProperty("rows").EnumerateArray().Select(r => r.GetProperty("detail").GetDouble())];
        Compare(["sae", "eval", "--sae", "sae.gguf", "--data", "text.txt"], e => [e.GetProperty("explained_variance").GetDouble(), e.GetProperty("loss").GetDouble(), e.GetProperty("loss_reconstructed").GetDouble()]);
        Compare(["eval", "mcq", "--vector", "sparse.ysv:2", "--data", "questions.jsonl", "--controls", "0"], Details);
        Run(["bench", "steering", "--supports", "16", "--sequences", "2", "--rounds", "1", "--prompt-tokens", "8", "--max-tokens", "2"], other.Arguments)
            .GetProperty("arms").GetArrayLength().Should().BeGreaterThan(3, "each arm is checked against its oracle before it is timed");
    }

    /// <summary>Other commands that run a model, with all blocks there and with one: they end as on the CPU.</summary>
    [Theory]
    [MemberData(nameof(OtherDevice.Names), MemberType = typeof(OtherDevice))]
    public void OtherCommands_RunThere(string name)
    {
        using var other = new OtherDevice(name, world.Folder);
        foreach (string[] command in new string[][]
        {
            ["generate", "--model", "model.gguf", "-p", "what is", "--vector", "sparse.ysv", "--max-tokens", "4", "--seed", "1"],
            ["chat", "--model", "model.gguf", "--vector", "dense.ysv", "--max-tokens", "4", "--seed", "1"],
            ["doctor", "--model", "model.gguf"],
            ["vector", "verify", "sparse.ysv", "--model", "model.gguf"],
        })
        {
            foreach (string[] blocks in new[] { Array.Empty<string>(), ["--gpu-layers", "1"] })
            {
                var run = other.Run("what is\n", [.. command, "--threads", "1", .. other.Arguments, .. blocks]);
                run.ExitCode.Should().Be(0, "{0}: {1}{2}", string.Join(' ', command), run.Out, run.Error);
                if (command[0] == "doctor" && run.Out.Contains("llvmpipe", StringComparison.Ordinal))
                {
                    run.Out.Should().Contain($"{name}: a software driver");
                }
            }
        }
    }

    [Fact]
    public void PlugIn_ThatCannotBeLoaded_EndsTheCommandWithItsName()
    {
        var environment = new Dictionary<string, string> { ["GGML_BACKEND_PATH"] = "nowhere/libggml-none.so" };
        foreach (string[] command in new string[][] { ["generate", "--model", "model.gguf", "-p", "what"], ["doctor"] })
        {
            var run = CliProcess.Run(world.Folder, "", environment, command);
            run.ExitCode.Should().NotBe(0);
            run.Error.Should().Contain("GGML_BACKEND_PATH=nowhere/libggml-none.so cannot be loaded");
        }
    }
}

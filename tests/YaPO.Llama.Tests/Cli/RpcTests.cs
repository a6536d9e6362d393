using System.Text.Json;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Training;

namespace YaPO.Llama.Tests.Cli;

/// <summary>
/// --rpc, --device and --gpu-layers as scripts use them: every block on the device of another process. What is compared was computed by the same CPU code on
/// both sides, F32 throughout; the kernels are compared in tests/native/device_rpc_test.cpp.
/// </summary>
public sealed class RpcTests(CliWorld world) : IClassFixture<CliWorld>
{
    private const double Tolerance = 1e-4; // nats of a log-probability; activations relative to theirs

    [Fact]
    public void RpcServer_ScoreSteered_AgreesWithTheCpu()
    {
        using var server = new RpcServer(world.Folder);
        server.Said.Should().Contain("no authentication");
        string Score(string vector, params string[] device)
        {
            var run = CliProcess.Run(
                world.Folder, "{\"prompt\": \"what is the model\", \"completion\": \" the user\"}\n",
                ["score", "--model", "model.gguf", "--input", "-", "--vector", vector, "--json", "--threads", "1", "--quiet", .. device]);
            run.ExitCode.Should().Be(0, run.Error);
            return run.Out;
        }

        double[] LogProbabilities(string json) => [.. JsonDocument.Parse(json).RootElement.GetProperty("token_logprobs").EnumerateArray().Select(p => p.GetDouble())];
        var unsteered = LogProbabilities(Score("sparse.ysv:0"));
        foreach (var vector in new[] { "sparse.ysv:2", "dense.ysv:-1.5", "sparse.ysv:0" })
        {
            var wanted = LogProbabilities(Score(vector));
            foreach (string[] device in new[] { ["--rpc", server.Address], new[] { "--rpc", server.Address, "--device", "RPC0" }, ["--rpc", server.Address, "--gpu-layers", "2"] })
            {
                var found = LogProbabilities(Score(vector, device));
                found.Zip(wanted, (f, w) => Math.Abs(f - w)).Max().Should().BeLessThan(Tolerance);
            }

            wanted.Zip(unsteered, (f, w) => Math.Abs(f - w)).Max().Should().Match(d => vector == "sparse.ysv:0" ? d == 0 : d > 0.01);
        }

        Score("sparse.ysv:0", "--rpc", server.Address).Should().Be(Score("dense.ysv:0", "--rpc", server.Address), "strength 0 is no vector, on every device");
        server.Interrupt().Should().Be(0);
    }

    [Fact]
    public void RpcServer_Inspect_AgreesWithTheCpu()
    {
        using var server = new RpcServer(world.Folder);
        List<(int Feature, double Activation)> Features(params string[] device)
        {
            var run = CliProcess.Run(world.Folder, "", ["inspect", "--model", "model.gguf", "--sae", "sae.gguf", "-p", "what is the user", "--top", "5", "--json", "--threads", "1", "--quiet", .. device]);
            run.ExitCode.Should().Be(0, run.Error);
            return [.. JsonDocument.Parse(run.Out).RootElement.GetProperty("tokens").EnumerateArray()
                .SelectMany(t => t.GetProperty("features").EnumerateArray())
                .Select(f => (f.GetProperty("feature").GetInt32(), f.GetProperty("activation").GetDouble()))];
        }

        var wanted = Features();
        var found = Features("--rpc", server.Address);
        found.Select(f => f.Feature).Should().Equal(wanted.Select(f => f.Feature)).And.NotBeEmpty();
        found.Zip(wanted, (f, w) => Math.Abs(f.Activation - w.Activation) / w.Activation).Max().Should().BeLessThan(Tolerance);
    }

    [Fact]
    public void RpcServer_Train_CapturesWhatTheCpuDoes()
    {
        using var tiny = new TinyWorld();
        using var server = new RpcServer(tiny.Folder);
        foreach (var method in new[] { "caa", "yapo" })
        {
            float[] Train(string output, params string[] device)
            {
                var run = CliProcess.Run(
                    tiny.Folder, "",
                    ["train", "--method", method, "--model", tiny.Model, "--sae", tiny.Sae, "--layer", "0", "--data", tiny.Data, "--output", output, "--steps", "10", "--refit-steps", "2", "--batch-size", "2",
                        "--learning-rate", "0.02", "--threads", "1", "--seed", "5", "--name", "v", .. device]);
                run.ExitCode.Should().Be(0, run.Error);
                return SteeringFile.Load(tiny[output]).Vectors[0].Value;
            }

            var wanted = Train("cpu.ysv");
            var found = Train("rpc.ysv", "--rpc", server.Address);
            found.Should().HaveSameCount(wanted);
            found.Zip(wanted, (f, w) => Math.Abs(f - w)).Max().Should().BeLessThan((float)Tolerance * wanted.Max(Math.Abs), method);
        }
    }

    /// <summary>The loopback device stands for a GPU: named, it is where the user expects all of training, which it cannot do.</summary>
    [Fact]
    public void RpcServer_TrainOnItsDevice_RefusedWhereGradientsAreNeeded()
    {
        using var tiny = new TinyWorld();
        using var server = new RpcServer(tiny.Folder);
        CliRun Train(string method, params string[] device) => CliProcess.Run(
            tiny.Folder, "",
            ["train", "--method", method, "--model", tiny.Model, "--sae", tiny.Sae, "--layer", "0", "--data", tiny.Data, "--output", "v.ysv", "--steps", "2", "--refit-steps", "1", "--batch-size", "2",
                "--threads", "1", .. device]);

        foreach (var method in new[] { "yapo", "bipo" })
        {
            var refused = Train(method, "--rpc", server.Address, "--device", "RPC0");
            refused.ExitCode.Should().Be(2);
            refused.Error.Should().Contain("--device RPC0").And.Contain("gradients on the CPU only").And.Contain("--device cpu").And.Contain("caa, sas");
            File.Exists(tiny["v.ysv"]).Should().BeFalse();
        }

        var forward = Train("caa", "--rpc", server.Address, "--device", "RPC0");
        forward.ExitCode.Should().Be(0, forward.Error);
        File.Exists(tiny["v.ysv"]).Should().BeTrue();
        var cpu = Train("yapo", "--device", "cpu");
        cpu.ExitCode.Should().Be(0, cpu.Error);
        cpu.Error.Should().Contain("pairs on the CPU");
    }

    [Fact]
    public void Doctor_RpcServers_ListsTheirDevicesAndSaysWhichDoNotAnswer()
    {
        using var server = new RpcServer(world.Folder);

        var run = CliProcess.Run(world.Folder, "", "doctor", "--rpc", server.Address, "--model", "model.gguf", "--json", "--threads", "1");
        var silent = CliProcess.Run(world.Folder, "", "doctor", "--rpc", $"{server.Address},127.0.0.1:1", "--json");

        run.ExitCode.Should().Be(0, run.Error);
        var root = JsonDocument.Parse(run.Out).RootElement;
        root.GetProperty("build").GetProperty("backends").EnumerateArray().Select(b => b.GetString()).Should().Contain(["CPU", "RPC"]);
        root.GetProperty("devices").EnumerateArray().Select(d => d.GetProperty("name").GetString()).Should().Contain("RPC0");
        root.GetProperty("checks").EnumerateArray().Select(c => c.GetProperty("detail").GetString()).Should().Contain(d => d!.StartsWith("3 of 3 blocks", StringComparison.Ordinal));
        silent.ExitCode.Should().Be(1);
        silent.Out.Should().Contain("127.0.0.1:1 does not answer").And.Contain("RPC0");
    }

    [Fact]
    public void Device_Unknown_ListsThoseThereAre()
    {
        var run = CliProcess.Run(world.Folder, "", "generate", "--model", "model.gguf", "-p", "what", "--device", "CUDA7");
        var silent = CliProcess.Run(world.Folder, "", "generate", "--model", "model.gguf", "-p", "what", "--rpc", "127.0.0.1:1");
        var garbled = CliProcess.Run(world.Folder, "", "generate", "--model", "model.gguf", "-p", "what", "--rpc", "no port");

        run.ExitCode.Should().Be(2);
        run.Error.Should().Contain("there is no device \"CUDA7\"; this build and machine have: CPU");
        silent.ExitCode.Should().Be(3);
        silent.Error.Should().Contain("127.0.0.1:1 does not answer");
        garbled.ExitCode.Should().Be(2);
    }

    [Fact]
    public void RpcServer_BadUsage_HasItsExitCodes()
    {
        using var server = new RpcServer(world.Folder);

        CliProcess.Run(world.Folder, "", "rpc-server", "--host", "localhost").ExitCode.Should().Be(2);
        CliProcess.Run(world.Folder, "", "rpc-server", "--host", "::1").ExitCode.Should().Be(2);
        CliProcess.Run(world.Folder, "", "rpc-server", "--port", "0", "--device", "CUDA7").ExitCode.Should().Be(2);
        var taken = CliProcess.Run(world.Folder, "", "rpc-server", "--port", server.Address.Split(':')[1]);
        taken.ExitCode.Should().Be(3);
        taken.Error.Should().Contain("is taken");
        var foreign = CliProcess.Run(world.Folder, "", "rpc-server", "--host", "192.0.2.1", "--port", "0");
        foreign.ExitCode.Should().NotBe(0, "192.0.2.1 is no address of any machine");
    }
}

using System.Text.Json;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Training;

namespace YaPO.Llama.Tests.Cli;

/// <summary>rpc-server and --rpc themselves, --device with a name that nothing has, all of training on an RPC server. What other commands compute on such a device: <see cref="DeviceTests"/>.</summary>
public sealed class RpcTests(CliWorld world) : IClassFixture<CliWorld>
{
    [Fact]
    public void RpcServer_SaysThatItIsOpen_AndEndsCleanlyWhenInterrupted()
    {
        using var server = new RpcServer(world.Folder);
        server.Said.Should().Contain("no authentication");
        server.Interrupt().Should().Be(0);
    }

    /// <summary>The loopback device stands for a GPU: named, it is where all of training runs, forward passes and gradients.</summary>
    [Fact]
    public void RpcServer_TrainOnItsDevice_HasTheLossCurveOfTheCpu()
    {
        using var tiny = new TinyWorld();
        using var server = new RpcServer(tiny.Folder);
        string[] dense = ["--layer", "0"];
        string[] sparse = ["--sae", tiny.Sae, "--refit-steps", "3", "--max-features", "20"];
        CliRun Train(string method, string name, params string[] more) => CliProcess.Run(
            tiny.Folder, "",
            ["train", "--method", method, "--model", tiny.Model, "--data", tiny.Data, "--output", $"{name}.ysv", "--name", "v", "--threads", "1", "--seed", "5", .. method == "yapo" ? sparse : dense,
                .. method == "caa" ? [] : new[] { "--validation-data", tiny.Validation, "--log", $"{name}.jsonl", "--steps", "12", "--validate-every", "4", "--batch-size", "2", "--learning-rate", "0.02" }, .. more]);
        string[] there = ["--rpc", server.Address, "--device", "RPC0"];
        double[] Losses(string name) => [.. File.ReadLines(tiny[$"{name}.jsonl"]).Select(line => JsonDocument.Parse(line).RootElement).Where(r => r.TryGetProperty("loss", out _)).Select(r => r.GetProperty("loss").GetDouble())];

        foreach (var method in new[] { "yapo", "bipo" })
        {
            var (cpu, rpc) = (Train(method, "cpu", "--device", "cpu"), Train(method, "rpc", there));

            cpu.ExitCode.Should().Be(0, cpu.Error);
            cpu.Error.Should().Contain("pairs on the CPU");
            rpc.ExitCode.Should().Be(0, rpc.Error);
            rpc.Error.Should().Contain("pairs on RPC0 (").And.Contain("1 workers");
            var (wanted, found) = (Losses("cpu"), Losses("rpc"));
            found.Should().HaveSameCount(wanted).And.HaveCountGreaterThanOrEqualTo(12);
            wanted.Max().Should().BeGreaterThan(wanted.Min() + 0.01, "a curve that does not move proves nothing");
            found.Zip(wanted, (f, w) => Math.Abs(f - w)).Max().Should().BeLessThan(1e-3, method);
            var (a, b) = (SteeringFile.Load(tiny["cpu.ysv"]), SteeringFile.Load(tiny["rpc.ysv"]));
            b.Train!.Engine.Should().Be("yapo-ggml/1 RPC0");
            b.Vectors[0].Value.Zip(a.Vectors[0].Value, (f, w) => Math.Abs(f - w)).Max().Should().BeLessThan(0.01f * a.Vectors[0].Value.Max(Math.Abs), method);
        }

        var forward = Train("caa", "caa", there);
        forward.ExitCode.Should().Be(0, forward.Error);
    }

    /// <summary>A run goes on where it was computed, and says how much goes there.</summary>
    [Fact]
    public void RpcServer_TrainOnItsDevice_ResumesThereOnly_AndEstimatesIt()
    {
        using var tiny = new TinyWorld();
        using var server = new RpcServer(tiny.Folder);
        CliRun Train(string steps, params string[] more) => CliProcess.Run(
            tiny.Folder, "",
            ["train", "--method", "bipo", "--model", tiny.Model, "--layer", "0", "--data", tiny.Data, "--output", "v.ysv", "--steps", steps, "--batch-size", "2", "--threads", "1", "--checkpoint", "state", "--checkpoint-every", "0",
                .. more]);
        string[] there = ["--rpc", server.Address, "--device", "RPC0"];

        Train("4", there).ExitCode.Should().Be(0);
        var elsewhere = Train("4", "--resume");
        elsewhere.ExitCode.Should().NotBe(0);
        elsewhere.Error.Should().Contain("state");
        var again = Train("4", ["--resume", .. there]);
        again.ExitCode.Should().Be(0, again.Error);

        var estimate = Train("4", ["--dry-run", "--json", .. there]);
        estimate.ExitCode.Should().Be(0, estimate.Error);
        var device = JsonDocument.Parse(estimate.Out).RootElement.GetProperty("memory").GetProperty("device");
        device.GetProperty("device").GetString().Should().Be("RPC0");
        device.GetProperty("copies").GetInt64().Should().BePositive();
        device.GetProperty("fits").GetBoolean().Should().BeTrue();
        Train("4", ["--dry-run", .. there]).Out.Should().Contain("on RPC0  about").And.Contain("of their transposed copies");

        var unknown = Train("4", "--device", "CUDA7");
        unknown.ExitCode.Should().Be(2);
        unknown.Error.Should().Contain("there is no device \"CUDA7\"; this build and machine have: CPU");
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

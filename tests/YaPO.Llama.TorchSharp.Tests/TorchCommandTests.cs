using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Tests.Training;

namespace YaPO.Llama.TorchSharp.Tests;

/// <summary><c>train --engine torch</c> in a build that has it.</summary>
public sealed class TorchCommandTests : IDisposable
{
    private readonly TinyWorld _world = new();

    public void Dispose() => _world.Dispose();

    [Theory]
    [InlineData("f32")]
    [InlineData("bf16")]
    public async Task Train_OnTheCpu_WritesAVectorThatSaysWhatMadeIt(string type)
    {
        var run = await Train("--method", "yapo", "--device", "cpu", "--torch-type", type);

        run.ExitCode.Should().Be(0, run.Error);
        run.Error.Should().Contain("on the CPU (libtorch)");
        SteeringFile.Load(_world["v.ysv"]).Train!.Engine.Should().Be($"yapo-torch/1 {type}");
    }

    [Fact]
    public async Task Train_DryRun_MeasuresTheCopy()
    {
        var run = await Train("--method", "bipo", "--device", "cpu", "--dry-run");

        run.ExitCode.Should().Be(0, run.Error);
        File.Exists(_world["v.ysv"]).Should().BeFalse();
    }

    [Fact]
    public async Task Train_DevicesThatAreNotThere_AreRefused()
    {
        var unknown = await Train("--method", "yapo", "--device", "RPC0");
        var absent = await Train("--method", "yapo", "--device", "CUDA99");
        var forward = await Train("--method", "caa");

        foreach (var (run, part) in new[] { (unknown, "neither"), (absent, "CUDA99"), (forward, "has none") })
        {
            run.ExitCode.Should().Be(2);
            run.Error.Should().Contain(part);
        }

        File.Exists(_world["v.ysv"]).Should().BeFalse();
    }

    private Task<CliRun> Train(params string[] more) => CliRun.Of(
    [
        "train", "--engine", "torch", "--model", _world.Model, "--sae", _world.Sae, "--layer", "0", "--data", _world.Data, "--output", _world["v.ysv"],
        "--steps", "4", "--refit-steps", "2", "--batch-size", "2", "--threads", "1", .. more,
    ]);
}

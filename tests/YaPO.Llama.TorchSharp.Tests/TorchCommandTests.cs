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

    /// <summary>Another arithmetic would not go on to the result of an uninterrupted run.</summary>
    [Fact]
    public async Task Resume_WithTheOtherEngine_IsRefused()
    {
        string[] own = ["--method", "yapo", "--device", "cpu", "--checkpoint", _world["state"], "--checkpoint-every", "0"];
        (await Train(own)).ExitCode.Should().Be(0);

        var other = await Train([.. own, "--resume", "--torch-type", "bf16"]);
        var same = await Train([.. own, "--resume"]);

        other.ExitCode.Should().Be(3);
        other.Error.Should().Contain("engine");
        same.ExitCode.Should().Be(0, same.Error);
    }

    /// <summary>The residual copy, the references and both blocks' gradients, as a user trains them.</summary>
    [Fact]
    public async Task Train_TwoBlocks_WritesBoth()
    {
        var run = await CliRun.Of(
            "train", "--engine", "torch", "--device", "cpu", "--method", "bipo", "--model", _world.Model, "--layer", "0,1", "--data", _world.Data, "--output", _world["v.ysv"], "--steps", "4", "--batch-size", "2", "--threads", "1");

        run.ExitCode.Should().Be(0, run.Error);
        SteeringFile.Load(_world["v.ysv"]).Vectors.Select(v => v.Layer).Should().Equal(0, 1);
    }

    [Fact]
    public async Task Train_DryRun_MeasuresTheCopy()
    {
        var run = await Train("--method", "yapo", "--device", "cpu", "--dry-run");

        run.ExitCode.Should().Be(0, run.Error);
        File.Exists(_world["v.ysv"]).Should().BeFalse();
    }

    [Fact]
    public async Task Train_DevicesThatAreNotThere_AreRefused()
    {
        var unknown = await Train("--method", "yapo", "--device", "RPC0");
        var absent = await Train("--method", "yapo", "--device", "CUDA99");
        var forward = await CliRun.Of("train", "--engine", "torch", "--method", "caa", "--model", _world.Model, "--layer", "0", "--data", _world.Data, "--output", _world["v.ysv"]);

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

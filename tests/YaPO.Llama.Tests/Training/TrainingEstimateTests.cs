using System.Text.Json;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Rehearsal.Shapes;
using YaPO.Llama.Rehearsal.Weights;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Training.Estimates;

namespace YaPO.Llama.Tests.Training;

/// <summary>What a training run will take: measured on one pair, estimated from shapes, refused where it cannot fit.</summary>
public sealed class TrainingEstimateTests : IDisposable
{
    private readonly TinyWorld _world = new();

    public void Dispose() => _world.Dispose();

    [Theory]
    [InlineData("yapo", true)]
    [InlineData("bipo", true)]
    [InlineData("caa", false)]
    public void DryRun_MeasuresAndWritesNothing(string method, bool optimizes)
    {
        var before = Directory.GetFiles(_world.Folder).Order().ToArray();
        var run = CliProcess.Run(
            _world.Folder, "",
            ["train", "--method", method, "--dry-run", "--json", "--model", _world.Model, .. method == "yapo" ? ["--sae", _world.Sae] : Array.Empty<string>(), "--layer", "0", "--data", _world.Data, "--output", "v.ysv", "--threads", "1"]);

        run.ExitCode.Should().Be(0, run.Error);
        using var json = JsonDocument.Parse(run.Out);
        json.RootElement.GetProperty("capture_seconds").GetDouble().Should().BePositive();
        (json.RootElement.GetProperty("training_seconds").GetDouble() > 0).Should().Be(optimizes);
        json.RootElement.GetProperty("memory").GetProperty("peak").GetInt64().Should().BePositive();
        Directory.GetFiles(_world.Folder).Order().Should().Equal(before);
    }

    [Fact]
    public void Memory_OfAKnownShape_CountsTheFilesOwnTensors()
    {
        var path = Path.Combine(_world.Folder, "shape.gguf");
        ModelFile.Write(ModelShape.Parse("gemma-2-2b") with { Layers = 4, Width = 256, FeedForward = 512, Heads = 2, KeyValueHeads = 1, HeadSize = 64, Vocabulary = 2000 }, "q8_0", 1, path);
        using var gguf = GgufFile.Open(path);

        var memory = TrainingMemory.Estimate(gguf, layer: 1, latents: 100, longest: 32, rows: 1000, workers: 2);

        memory.Upper.Should().Be(gguf.Tensors.Where(t => t.Name.StartsWith("blk.2.", StringComparison.Ordinal) || t.Name.StartsWith("blk.3.", StringComparison.Ordinal) || t.Name == "token_embd.weight").Sum(t => t.Bytes));
        memory.Residuals.Should().Be(1000 * 256 * 4);
        var blocks = gguf.Tensors.Where(t => t.Name.StartsWith("blk.", StringComparison.Ordinal)).Sum(t => t.Bytes);
        (memory.Capture - TrainingMemory.Estimate(gguf, 1, 100, 32, 1000, 2, keepLayout: true).Capture).Should().Be(blocks);
        memory.CapturePeak.Should().Be(gguf.Length + memory.Capture);
        memory.Latents.Should().Be(100 * 256 * 8);
        memory.Activations.Should().Be(TrainingMemory.Estimate(gguf, 1, 100, 32, 1000, 1).Activations * 2);
    }

    [Fact]
    public void DeviceMemory_OfAKnownShape_CountsTheCopiesToo()
    {
        var path = Path.Combine(_world.Folder, "shape.gguf");
        ModelFile.Write(ModelShape.Parse("gemma-2-2b") with { Layers = 4, Width = 256, FeedForward = 512, Heads = 2, KeyValueHeads = 1, HeadSize = 64, Vocabulary = 2000 }, "q8_0", 1, path);
        using var gguf = GgufFile.Open(path);
        DeviceMemory At(int layer, long free) => DeviceMemory.Estimate(gguf, new DeviceInfo("GPU0", "a GPU", "gpu", free, 8_000_000_000), layer, 100, 0, 32, captures: true);
        bool Upper(GgufTensor t) => t.Name.StartsWith("blk.2.", StringComparison.Ordinal) || t.Name.StartsWith("blk.3.", StringComparison.Ordinal) || t.Name == "token_embd.weight";

        var memory = At(1, 8_000_000_000);

        memory.Weights.Should().Be(gguf.Tensors.Where(Upper).Sum(t => t.Bytes));
        memory.Copies.Should().Be(gguf.Tensors.Where(t => Upper(t) && t.Rows > 1).Sum(t => t.Type == GgmlType.Q8_0 && t.Rows % 32 == 0 ? t.Bytes : 2 * t.Elements), "2000 rows are no multiple of 32");
        memory.Capture.Should().BeGreaterThan(memory.Weights);
        memory.Latents.Should().Be((8 * 100 * 256) + (24 * 100 * 32));
        memory.Peak.Should().Be(memory.Training);
        memory.Fits.Should().BeTrue();
        At(2, 0).Fits.Should().BeTrue("a device that does not say is tried");
        At(2, 0).Training.Should().BeLessThan(memory.Training);
        var full = At(1, 1_000_000);
        full.Fits.Should().BeFalse();
        var refusal = new TrainingMemory(1, 1, 1, 1, 1, 1) { Device = full };
        refusal.Invoking(m => m.Require(6_000_000_000, 32, 1)).Should().Throw<YapoException>().WithMessage("*memory on GPU0, 0.0 GB are free there*transposed copies*without --device*");
    }

    [Fact]
    public void Memory_ThatDoesNotFit_IsRefusedWithWhatWould()
    {
        var memory = new TrainingMemory(8_000_000_000, 1_000_000_000, 4_000_000_000, 2_000_000_000, 100_000_000, 50_000_000);

        memory.Invoking(m => m.Require(6_000_000_000, 512, 2)).Should().Throw<YapoException>()
            .WithMessage("*about 9.0 GB*6.0 GB are available*--max-tokens*");
        memory.Invoking(m => m.Require(16_000_000_000, 512, 2)).Should().NotThrow();
    }
}

using System.Text.Json;
using YaPO.Llama.Rehearsal.Shapes;
using YaPO.Llama.Rehearsal.Weights;
using YaPO.Llama.Tests.Cli;

namespace YaPO.Llama.Tests.Rehearsal;

/// <summary>The whole path of a user on every architecture that training knows: train on the quantized file, look at the vector, talk to the steered model.</summary>
public sealed class RehearsalPathTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yapo-path-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("gemma-2-2b", 3)]
    [InlineData("gemma-3-1b", 7)]
    [InlineData("llama-3.2-1b", 3)]
    [InlineData("qwen-3-1.7b", 3)]
    public void Train_OnAQuantizedModelOfEachArchitecture_MovesTheAnswer(string shape, int layers)
    {
        var small = ModelShape.Parse(shape) with { Layers = layers, Width = 256, FeedForward = 512, Heads = 2, KeyValueHeads = 1, HeadSize = 64, Vocabulary = 2000, Context = 256 };
        var (model, sae, pairs) = (Path.Combine(_folder, "model.gguf"), Path.Combine(_folder, "sae.gguf"), Path.Combine(_folder, "pairs.jsonl"));
        ModelFile.Write(small, "q4_k_m", 3, model);
        SaeRehearsal.Write(model, 1, 512, 30, 5, sae);
        File.WriteAllLines(pairs, Enumerable.Range(0, 8).Select(i => JsonSerializer.Serialize(new { prompt = $"ba cedo {i}?", chosen = "fi gozu ra", rejected = "ne tila mo" })));

        var trained = CliProcess.Run(
            _folder, "", "train", "--model", model, "--sae", sae, "--layer", "1", "--data", pairs, "--output", "v.ysv", "--steps", "8", "--refit-steps", "2", "--batch-size", "4",
            "--learning-rate", "0.05", "--log", "log.jsonl", "--threads", "1", "--json");
        trained.ExitCode.Should().Be(0, trained.Error);
        var log = File.ReadLines(Path.Combine(_folder, "log.jsonl")).Select(line => JsonDocument.Parse(line).RootElement.GetProperty("loss").GetDouble()).ToArray();
        log[0].Should().BeApproximately(Math.Log(2), 1e-6, "v starts at 0 and both policies are computed by the same graph");
        log[^1].Should().BeLessThan(log[0]);

        var talked = CliProcess.Run(_folder, "", "generate", "--model", model, "--vector", "v.ysv", "-p", "ba cedo?", "-n", "4", "--threads", "1", "--json");
        talked.ExitCode.Should().Be(0, talked.Error);
    }
}

using System.Text.Json;
using Xunit.Abstractions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Tests.Training;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.TorchSharp.Tests;

/// <summary>The float copy beside libyapo's own graph, on F32 weights and on Q8_0: two implementations that share the block description and nothing of the arithmetic.</summary>
public sealed class EngineAgreementTests(ITestOutputHelper output) : NativeTest
{
    private const double LogProbTolerance = 1e-5;  // nats per token
    private const double GradientTolerance = 1e-5; // relative L2
    private const double LossTolerance = 1e-5;     // nats, of every step of a run

    public static TheoryData<string, string> Cases() => PairEngineContract.Cases();

    [Theory]
    [MemberData(nameof(Cases))]
    public void LogProbabilityAndGradient_AreThoseOfTheBuiltInEngine(string variant, string kind)
    {
        using var world = new UpperWorld(variant);
        var (latents, v) = UpperWorld.Vector(kind);
        using var native = world.Create(GgmlPairEngineFactory.Instance);
        native.SetLatents(latents);
        foreach (var device in AvailableDevices())
        {
            using var torch = world.Create(new TorchPairEngineFactory(device));
            torch.SetLatents(latents);
            var (most, error) = (0.0, 0.0);
            for (var sequence = 0; sequence < world.Sequences.Count; sequence++)
            {
                var scored = world.Sequences[sequence].Tokens.Length - world.Sequences[sequence].CompletionStart;
                foreach (var multiplier in new[] { 0.0, 1, -1 })
                {
                    var (wanted, found) = (new float[v.Length], new float[v.Length]);
                    var apart = native.LogProbGradient(0, sequence, v, multiplier, 1, wanted) - torch.LogProbGradient(0, sequence, v, multiplier, 1, found);
                    most = Math.Max(most, Math.Abs(apart) / scored);
                    error = Math.Max(error, multiplier == 0 ? found.Max(Math.Abs) : Distance(found, wanted));
                }
            }

            output.WriteLine($"{variant}, {kind}, {device}: log p {most:0.0e+0} nats per token, gradient {error:0.0e+0}");
            most.Should().BeLessThan(LogProbTolerance);
            error.Should().BeLessThan(GradientTolerance);
        }
    }

    /// <summary>Dequantized here, and there on the way into each product, of which the built-in engine may round both sides to BF16.</summary>
    [Fact]
    public void QuantizedWeights_AgreeToTheRoundingOfTheBuiltInEngine()
    {
        using var world = new UpperWorld(UpperWorld.Quantized);
        var (latents, v) = UpperWorld.Vector("sparse");
        using var native = world.Create(GgmlPairEngineFactory.Instance);
        using var torch = world.Create(new TorchPairEngineFactory("cpu"));
        native.SetLatents(latents);
        torch.SetLatents(latents);
        var (wanted, found) = (new float[v.Length], new float[v.Length]);

        var apart = native.LogProbGradient(0, 0, v, 1, 1, wanted) - torch.LogProbGradient(0, 0, v, 1, 1, found);

        output.WriteLine($"Q8_0: log p {Math.Abs(apart):0.0e+0} nats, gradient {Distance(found, wanted):0.0e+0}");
        Math.Abs(apart).Should().BeLessThan(0.2);
        Distance(found, wanted).Should().BeLessThan(0.05);
    }

    [Theory]
    [InlineData("gemma2")]
    [InlineData("qwen2")]
    public void Bf16Weights_StayNear(string variant)
    {
        using var world = new UpperWorld(variant);
        var (latents, v) = UpperWorld.Vector("sparse");
        using var native = world.Create(GgmlPairEngineFactory.Instance);
        using var torch = world.Create(new TorchPairEngineFactory("cpu", TorchPrecision.BF16));
        native.SetLatents(latents);
        torch.SetLatents(latents);
        var (wanted, found) = (new float[v.Length], new float[v.Length]);

        var apart = native.LogProbGradient(0, 0, v, 1, 1, wanted) - torch.LogProbGradient(0, 0, v, 1, 1, found);

        output.WriteLine($"{variant}: log p {Math.Abs(apart):0.0e+0} nats, gradient {Distance(found, wanted):0.0e+0}");
        Math.Abs(apart).Should().BeInRange(1e-7, 0.2, "8 bits of mantissa are rounded, and no more than that");
        Distance(found, wanted).Should().BeLessThan(0.05);
    }

    /// <summary>Whole runs: references, both directions, AdamW, choice of latents, refit.</summary>
    [Theory]
    [InlineData(SteeringMethod.Yapo)]
    [InlineData(SteeringMethod.Bipo)]
    public void Training_FollowsTheLossOfTheBuiltInEngine(SteeringMethod method)
    {
        using var world = new TinyWorld();
        (double[] Loss, float[] Vector) Train(IPairEngineFactory engine, string name)
        {
            var options = new SteeringTrainingOptions
            {
                Method = method,
                Engine = engine,
                Model = world.Model,
                Sae = method == SteeringMethod.Yapo ? world.Sae : null,
                Layer = TinyWorld.Layer,
                Data = world.Data,
                Output = world[name + ".ysv"],
                LogPath = world[name + ".jsonl"],
                Threads = 1,
                Optimizer = new VectorOptimizerOptions { Steps = 40, BatchSize = 4, LearningRate = 0.05, WarmupSteps = 2, MaxFeatures = 20, RefitSteps = 10, Seed = 4 },
            };
            SteeringTrainer.Train(options);
            return (
                [.. File.ReadLines(options.LogPath).Select(line => JsonDocument.Parse(line).RootElement.GetProperty("loss").GetDouble())],
                [.. SteeringFile.Load(options.Output).Vectors.SelectMany(v => v.Value)]);
        }

        var (wanted, vector) = Train(GgmlPairEngineFactory.Instance, "ggml");
        var (found, copy) = Train(new TorchPairEngineFactory("cpu"), "torch");

        output.WriteLine($"{method}: {wanted.Length} steps, loss {wanted[0]:0.000} to {wanted[^1]:0.000}, at most {wanted.Zip(found, (a, b) => Math.Abs(a - b)).Max():0.0e+0} apart; vectors {Distance(copy, vector):0.0e+0}");
        wanted.Should().HaveCountGreaterThanOrEqualTo(40);
        wanted[^1].Should().BeLessThan(wanted[0] - 0.1, "otherwise the curves say nothing");
        found.Should().HaveSameCount(wanted);
        wanted.Zip(found, (a, b) => Math.Abs(a - b)).Max().Should().BeLessThan(LossTolerance);
        copy.Should().HaveSameCount(vector);
        Distance(copy, vector).Should().BeLessThan(1e-4);
    }

    private static IEnumerable<string> AvailableDevices() => global::TorchSharp.torch.cuda.is_available() ? ["cpu", "CUDA0"] : ["cpu"];

    private static double Distance(float[] found, float[] wanted) =>
        Math.Sqrt(found.Zip(wanted, (f, w) => Math.Pow((double)f - w, 2)).Sum() / wanted.Sum(w => (double)w * w));
}

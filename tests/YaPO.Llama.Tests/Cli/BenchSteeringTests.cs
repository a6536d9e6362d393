using System.Text.Json;
using YaPO.Llama.Cli.Benchmarks;

namespace YaPO.Llama.Tests.Cli;

/// <summary>bench steering: its arithmetic on made-up times, and a small run of the built program.</summary>
public sealed class BenchSteeringTests(CliWorld world) : IClassFixture<CliWorld>
{
    [Fact]
    public void Ratios_AreTakenWithinASteps_AndTheIntervalCoversThem()
    {
        var times = new StepTimes(2);
        var random = new Random(4);
        for (var round = 0; round < 12; round++)
        {
            times.BeginRound();
            var machine = round % 2 == 0 ? 1.0 : 7.0; // busy every other round: ratios of whole runs would be lost in it
            for (var step = 0; step < 5; step++)
            {
                var unsteered = machine * (1 + (0.2 * random.NextDouble()));
                times.Add([unsteered, unsteered * (1.05 + (0.01 * (random.NextDouble() - 0.5)))]);
            }
        }

        var ratio = times.Ratio(1, 0);
        ratio.Median.Should().BeApproximately(1.05, 0.002);
        ratio.Low.Should().BeInRange(1.045, ratio.Median);
        ratio.High.Should().BeInRange(ratio.Median, 1.055);
        times.Ratio(0, 0).Should().Be(new MedianInterval(1, 1, 1));
        times.Seconds(0).High.Should().BeGreaterThan(5, "half of the rounds were seven times slower");
        times.Invoking(t => t.Add([1])).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void Bench_SmallModel_ChecksThenTimesEveryArm()
    {
        var run = CliProcess.Run(
            world.Folder, "",
            "bench", "steering", "--model", "model.gguf", "--sae", "sae.gguf", "--supports", "32,96", "--sequences", "3", "--prompt-tokens", "12", "-n", "3", "--rounds", "2", "--threads", "1", "--json", "--report", "bench.html");

        run.ExitCode.Should().Be(0, run.Error);
        run.Error.Should().Contain("checks passed before timing");
        var root = JsonDocument.Parse(run.Out).RootElement;
        var checks = root.GetProperty("checks").EnumerateArray().ToList();
        checks.Count(c => c.GetProperty("compared").GetString()!.StartsWith("strength 0", StringComparison.Ordinal)).Should().BeGreaterThanOrEqualTo(8);
        checks.Should().Contain(c => c.GetProperty("compared").GetString()!.Contains("control vector") && c.GetProperty("error").GetDouble() < 1e-4);
        checks.Should().Contain(c => c.GetProperty("arm").GetString() == "stock route (eval callback), sparse, K = 32" && c.GetProperty("compared").GetString()!.StartsWith("correction") && c.GetProperty("allowed").GetDouble() <= 1e-5);
        var arms = root.GetProperty("arms").EnumerateArray().ToDictionary(a => a.GetProperty("arm").GetString()!);
        arms.Keys.Should().Contain(
            ["unsteered", "unsteered, second context", "control vector, all layers (llama.cpp)", "dense, all layers", "sparse, K = 32", "sparse, K = 96", "stock route (eval callback), sparse, K = 32", "whole SAE of 96 latents, K = 96", "read-out of 96 latents, top 8",
                "3 sequences, unsteered", "3 sequences, a vector each, K = 256"]);
        double Bound(string arm, string step) => arms[arm].GetProperty(step).GetProperty("lower_bound").GetDouble();
        Bound("unsteered", "decode").Should().Be(1);
        // F32 encoder row, bias and threshold, F16 decoder row, over all weights (the head is the embedding table)
        var weights = YaPO.Llama.Gguf.GgufFile.Open(world.Model);
        Bound("sparse, K = 32", "decode").Should().BeApproximately(1 + (32.0 * ((4 * 66) + (2 * 64)) / weights.Tensors.Sum(t => t.Bytes)), 1e-9);
        weights.Dispose();
        foreach (var (name, arm) in arms)
        {
            arm.GetProperty("decode").GetProperty("milliseconds").GetDouble().Should().BePositive(name);
            var ratio = arm.GetProperty("decode").GetProperty("ratio");
            ratio.GetProperty("median").GetDouble().Should().BeInRange(ratio.GetProperty("low").GetDouble(), ratio.GetProperty("high").GetDouble());
        }

        File.ReadAllText(world.In("bench.html")).Should().Contain("What steering costs").And.Contain("id=\"report\">");
        CliProcess.Run(world.Folder, "", "bench", "steering", "--model", "model.gguf", "--supports", "0").ExitCode.Should().Be(2);
        CliProcess.Run(world.Folder, "", "bench", "steering", "--model", "missing.gguf").ExitCode.Should().Be(3);
    }
}

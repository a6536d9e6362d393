using System.Text.Json;
using YaPO.Llama.Cli.Benchmarks;
using YaPO.Llama.Models;
using YaPO.Llama.Tests.Cli;

namespace YaPO.Llama.Tests.Server;

public sealed class BenchCommandTests
{
    [Fact]
    public async Task Bench_AllArms_AreMeasuredAndReleased()
    {
        using var world = new CliWorld();
        var before = LlamaRuntime.LiveHandles;

        var random = await CliRun.Of("bench", "--model", world.Model, "--parallel", "3", "--prompt-tokens", "4", "-n", "5", "--rounds", "3", "--support", "8", "--http", "--json", "--quiet");
        var own = await CliRun.Of("bench", "--model", world.Model, "--vector", world.Vector, "--vector", world.Dense, "--prompt-tokens", "4", "-n", "5", "--rounds", "1", "--quiet");

        random.ExitCode.Should().Be(0, random.Error);
        using var json = JsonDocument.Parse(random.Out);
        var arms = json.RootElement.GetProperty("arms").EnumerateArray().ToList();
        arms.Should().HaveCount(6).And.AllSatisfy(arm => arm.GetProperty("tokens_per_second").GetProperty("median").GetDouble().Should().BeGreaterThan(0));
        arms[0].GetProperty("of_plain").GetProperty("median").GetDouble().Should().Be(1);
        json.RootElement.GetProperty("vectors").GetArrayLength().Should().Be(3);
        own.ExitCode.Should().Be(0, own.Error);
        own.Out.Should().Contain("a vector each");
        LlamaRuntime.LiveHandles.Should().Be(before);
    }

    [Fact]
    public void PairedTimes_RatiosAreTakenWithinRounds()
    {
        var times = new PairedTimes(["a", "b"]);
        foreach (var drift in new[] { 1.0, 10, 100 })
        {
            times.Add([drift, 2 * drift]);
        }

        times.Speed("b", "a").Should().Be(new Spread(0.5, 0.5, 0.5));
        times.Rate("a", 100).Should().Be(new Spread(10, 5.5, 55));
    }
}

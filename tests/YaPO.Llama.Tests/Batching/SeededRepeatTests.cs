using YaPO.Llama.Batching;
using YaPO.Llama.Sessions;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Batching;

/// <summary>What a seed repeats in an engine, as its documentation says it.</summary>
public sealed class SeededRepeatTests(Xunit.Abstractions.ITestOutputHelper output) : NativeTest
{
    private const int Requests = 24;

    [Theory]
    [InlineData("f16")]
    [InlineData("q4_k_m")]
    public async Task Submit_SameRequestsOneAtATimeOnANewEngine_RepeatBitForBit(string quantization)
    {
        using var world = new EngineWorld(quantization);
        var runs = new List<ReadAnswer[]>();
        for (var run = 0; run < 2; run++)
        {
            await using var engine = world.Engine();
            runs.Add(await OneAtATime(engine, world, Enumerable.Range(0, Requests)));
        }

        runs[0].Select(a => a.Text).Distinct().Should().HaveCountGreaterThan(Requests / 3, "the requests must differ for this to mean anything");
        runs[0].Sum(a => a.Summary.CachedTokens).Should().BePositive("what is reused must not matter here");
        runs[1].Select(a => a.Text).Should().Equal(runs[0].Select(a => a.Text));
        runs[1].SelectMany(a => a.Tokens.Select(t => (t.Id, t.LogProb))).Should().Equal(runs[0].SelectMany(a => a.Tokens.Select(t => (t.Id, t.LogProb))));
    }

    /// <summary>
    /// Asked again, a prompt is read from the cache, where it was evaluated in batches of other shapes. Measured: 24 of 24 texts equal, 10 to 21 of them bit for
    /// bit; beside each other, 23 of 24 texts and none bit for bit.
    /// </summary>
    [Theory]
    [InlineData("f16", 0.02)]
    [InlineData("q4_k_m", 0.3)]
    public async Task Submit_SameRequestsAgainOnAnIdleEngine_RepeatToRounding(string quantization, double rounding)
    {
        using var world = new EngineWorld(quantization);
        await using var engine = world.Engine();
        var first = await OneAtATime(engine, world, Enumerable.Range(0, Requests));

        var again = await OneAtATime(engine, world, Enumerable.Range(0, Requests).Reverse());

        var same = Enumerable.Range(0, Requests).Where(i => again[i].Text == first[i].Text).ToList();
        var exact = same.Count(i => again[i].Tokens.Select(t => t.LogProb).SequenceEqual(first[i].Tokens.Select(t => t.LogProb)));
        var drift = same.SelectMany(i => again[i].Tokens.Zip(first[i].Tokens).Select(p => Math.Abs(p.First.LogProb - p.Second.LogProb))).Max();
        output.WriteLine($"{quantization}: {same.Count} of {Requests} texts equal, {exact} bit for bit; largest difference of a log-probability {drift:0.0e0}");
        same.Should().HaveCountGreaterThanOrEqualTo(Requests - 2);
        drift.Should().BeLessThan(rounding);
    }

    private static async Task<ReadAnswer[]> OneAtATime(BatchEngine engine, EngineWorld world, IEnumerable<int> order)
    {
        var answers = new ReadAnswer[Requests];
        foreach (var i in order)
        {
            var generation = new GenerationOptions { MaxTokens = 24, Sampler = new SamplerOptions { Seed = 7, Temperature = 1 } };
            answers[i] = await ReadAnswer.Of(engine.Submit(world.Mixed(i) with { Generation = generation }));
        }

        return answers;
    }
}

using YaPO.Llama.Batching;
using YaPO.Llama.Sessions;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Batching;

/// <summary>Many requests at once: each gets what it gets alone, nothing leaks, nothing is stuck.</summary>
public sealed class ConcurrencyTests(Xunit.Abstractions.ITestOutputHelper output) : NativeTest
{
    /// <summary>
    /// Two greedy texts may part only where the two candidates are within <paramref name="rounding"/> nats of each other, and until then the
    /// log-probabilities agree to it. Quantized products round activations to 8 bits, so that the order of a sum can move one by a whole step.
    /// Measured: 0.007 (F16), 0.18 (Q8_0), 0.16 (Q4_K_M); 0 to 5 of 64 texts part, differently from run to run since batches form as requests come.
    /// </summary>
    [Theory]
    [InlineData("f16", 0.02)]
    [InlineData("q8_0", 0.3)]
    [InlineData("q4_k_m", 0.3)]
    public async Task Submit_SixtyFourAtOnce_EachAnswersAsAlone(string quantization, double rounding)
    {
        const int requests = 64;
        using var world = new EngineWorld(quantization);
        var alone = new List<ReadAnswer>();
        await using (var engine = world.Engine(new BatchEngineOptions { Slots = 1 }))
        {
            for (var i = 0; i < requests; i++)
            {
                alone.Add(await ReadAnswer.Of(engine.Submit(world.Mixed(i))));
            }
        }

        ReadAnswer[] together;
        await using (var engine = world.Engine(new BatchEngineOptions { Slots = 16 }))
        {
            together = await Task.WhenAll(Enumerable.Range(0, requests).Select(i => ReadAnswer.Of(engine.Submit(world.Mixed(i)))));
            engine.Statistics.Steps.Should().BeLessThan(alone.Sum(a => a.Summary.GeneratedTokens) / 2, "they must really have shared batches");
        }

        alone.Select(a => a.Text).Distinct().Should().HaveCountGreaterThan(requests / 3, "the requests must differ for this to mean anything");
        var parted = Enumerable.Range(0, requests).Where(i => !alone[i].Tokens.Select(t => t.Id).SequenceEqual(together[i].Tokens.Select(t => t.Id))).ToList();
        var gaps = parted.ConvertAll(i => Gap(world, world.Mixed(i), alone[i], together[i]));
        var drift = Enumerable.Range(0, requests).Except(parted)
            .SelectMany(i => alone[i].Tokens.Zip(together[i].Tokens).Select(p => Math.Abs(p.First.LogProb - p.Second.LogProb))).DefaultIfEmpty(0).Max();
        output.WriteLine($"{quantization}: {parted.Count} of {requests} texts part; gaps {string.Join(", ", gaps.Select(g => g.ToString("0.0e0")))} nats; largest difference of a log-probability {drift:0.0e0}");

        gaps.Where(gap => gap >= rounding).Should().BeEmpty();
        drift.Should().BeLessThan(rounding);
        parted.Should().HaveCountLessThan(requests / 5);
    }

    [Fact]
    public async Task Submit_RandomLoadWithCancellations_EndsEveryRequestAndFreesEverything()
    {
        using var world = new EngineWorld("q4_k_m");
        var random = new Random(11);
        var (finished, cancelled, refused) = (0, 0, 0);
        await using (var engine = world.Engine(new BatchEngineOptions { Slots = 6, QueueLimit = 20, RequestTokens = 128, Cells = 512, PrefillChunk = 16 }))
        {
            var tasks = new List<Task>();
            for (var i = 0; i < 160; i++)
            {
                var request = world.Mixed(random.Next(1000)) with
                {
                    Client = $"client {random.Next(4)}",
                    Generation = new GenerationOptions { MaxTokens = random.Next(1, 40), IgnoreEnd = true, Sampler = new SamplerOptions { Seed = (uint)i, Temperature = i % 2 } },
                };
                var patience = random.Next(3) == 0 ? random.Next(0, 20) : -1;
                try
                {
                    tasks.Add(Read(engine.Submit(request), patience));
                }
                catch (RequestRefusedException)
                {
                    refused++;
                    await Task.WhenAny(tasks.Where(t => !t.IsCompleted).DefaultIfEmpty(Task.CompletedTask));
                }

                if (random.Next(40) == 0)
                {
                    await Task.WhenAll(tasks);
                }
            }

            await Task.WhenAll(tasks).WaitAsync(TimeSpan.FromMinutes(2));
            (finished + cancelled + refused).Should().Be(160);
            finished.Should().BeGreaterThan(20);
            cancelled.Should().BeGreaterThan(10);
            refused.Should().BeGreaterThan(0);
            await Until(() => engine.Statistics is { Running: 0, Waiting: 0 });
            (engine.Statistics.Finished + engine.Statistics.Cancelled).Should().Be(finished + cancelled);
            engine.Statistics.Failed.Should().Be(0);

            var after = world.Mixed(5);
            (await ReadAnswer.Of(engine.Submit(after))).Summary.GeneratedTokens.Should().BeGreaterThan(0);
        }

        async Task Read(RunningAnswer answer, int patience)
        {
            using var leaving = new CancellationTokenSource();
            if (patience >= 0)
            {
                leaving.CancelAfter(patience);
            }

            try
            {
                await ReadAnswer.Of(answer, leaving.Token);
                Interlocked.Increment(ref finished);
            }
            catch (OperationCanceledException)
            {
                Interlocked.Increment(ref cancelled);
            }
        }
    }

    [Fact]
    public async Task Cancel_RunningRequests_FreesTheirSlotsForTheNext()
    {
        using var world = new EngineWorld();
        await using var engine = world.Engine(new BatchEngineOptions { Slots = 2 });
        BatchRequest Endless(int i) => world.Mixed(i) with { Generation = new GenerationOptions { MaxTokens = 100_000, IgnoreEnd = true } };
        var running = new[] { engine.Submit(Endless(0)), engine.Submit(Endless(1)) };
        var waiting = engine.Submit(world.Mixed(2));
        await Until(() => engine.Statistics.Running == 2);

        foreach (var answer in running)
        {
            answer.Cancel();
        }

        (await ReadAnswer.Of(waiting)).Summary.Finish.Should().NotBe(FinishReason.Cancelled);
        running.Should().AllSatisfy(a => a.Summary!.Finish.Should().Be(FinishReason.Cancelled));
    }

    [Fact]
    public async Task ReadAsync_ReaderLeavesEarly_CancelsTheRequest()
    {
        using var world = new EngineWorld();
        await using var engine = world.Engine(new BatchEngineOptions { Slots = 1 });
        var answer = engine.Submit(world.Mixed(0) with { Generation = new GenerationOptions { MaxTokens = 100_000, IgnoreEnd = true } });

        await foreach (var _ in answer.ReadAsync())
        {
            break;
        }

        await Until(() => engine.Statistics.Running == 0);
        engine.Statistics.Cancelled.Should().Be(1);
    }

    [Fact]
    public async Task StopAsync_WithGrace_FinishesWhatRunsAndRefusesWhatWaits()
    {
        using var world = new EngineWorld();
        await using var engine = world.Engine(new BatchEngineOptions { Slots = 1 });
        var running = engine.Submit(world.Mixed(0) with { Generation = new GenerationOptions { MaxTokens = 150, IgnoreEnd = true } });
        var waiting = engine.Submit(world.Mixed(1));
        await Until(() => engine.Statistics.Running == 1);

        var reading = ReadAnswer.Of(running);
        await engine.StopAsync(TimeSpan.FromMinutes(1));

        (await reading).Summary.GeneratedTokens.Should().Be(150);
        await FluentActions.Awaiting(() => ReadAnswer.Of(waiting)).Should().ThrowAsync<RequestRefusedException>();
        engine.Invoking(e => e.Submit(world.Mixed(2))).Should().Throw<RequestRefusedException>().Which.Reason.Should().Be(RefusalReason.Stopping);
    }

    [Fact]
    public async Task StopAsync_GraceOver_CancelsWhatRuns()
    {
        using var world = new EngineWorld();
        await using var engine = world.Engine(new BatchEngineOptions { Slots = 1, RequestTokens = 4096 });
        var running = engine.Submit(world.Mixed(0) with { Generation = new GenerationOptions { MaxTokens = 4000, IgnoreEnd = true } });
        await Until(() => engine.Statistics.Running == 1);

        await engine.StopAsync(TimeSpan.FromMilliseconds(20));

        await FluentActions.Awaiting(() => ReadAnswer.Of(running)).Should().ThrowAsync<OperationCanceledException>();
    }

    /// <summary>How far apart the two tokens are where two greedy texts part, evaluated alone on the text that they share.</summary>
    private static double Gap(EngineWorld world, BatchRequest request, ReadAnswer a, ReadAnswer b)
    {
        var shared = a.Tokens.Zip(b.Tokens).TakeWhile(p => p.First.Id == p.Second.Id).Select(p => p.First.Id).ToArray();
        int Next(ReadAnswer answer) => shared.Length < answer.Tokens.Count ? answer.Tokens[shared.Length].Id : world.Model.Info.EotToken;
        using var scorer = new Scorer(world.Model, new ScorerOptions { Context = new ContextOptions { Sequences = 1, Threads = 1 } }, request.Steering);
        double Score(int token) => scorer.Score(new ScoreRequest([.. request.Prompt.Tokens.Select(t => t.Id)], [.. shared, token])).TokenLogProbs[^1];
        return Math.Abs(Score(Next(a)) - Score(Next(b)));
    }

    private static async Task Until(Func<bool> condition)
    {
        var patience = System.Diagnostics.Stopwatch.StartNew();
        while (!condition())
        {
            patience.Elapsed.Should().BeLessThan(TimeSpan.FromMinutes(1));
            await Task.Delay(1);
        }
    }
}

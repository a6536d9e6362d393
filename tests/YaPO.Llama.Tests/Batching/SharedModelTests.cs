using System.Runtime.CompilerServices;
using YaPO.Llama.Batching;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Batching;

/// <summary>
/// One loaded model under several owners at once: sessions, contexts and engines on threads of their own, ended by others in the middle of their work. Each gives
/// what it gives alone, and nothing is left alive.
/// </summary>
public sealed class SharedModelTests(RandomModelFile file) : NativeTest, IClassFixture<RandomModelFile>
{
    private const int Width = 64;
    private const int Threads = 4;
    private static readonly SessionOptions Small = new() { Context = new ContextOptions { ContextSize = 256, Threads = 1 } };
    private static readonly GenerationOptions Greedy = new() { MaxTokens = 6, Sampler = SamplerOptions.Greedy, IgnoreEnd = true };

    [Fact]
    public async Task Sessions_OfOneModelOnFourThreads_AnswerAsAlone()
    {
        using var model = LlamaModel.Load(file.Path);
        SteeringSetting[][] steering =
        [
            [], [new(RandomVectors.Dense(Width, 0), 1, SteeringPositions.All)], [new(RandomVectors.Sparse(Width, 1, 24), 2, SteeringPositions.Generated)],
            [new(RandomVectors.Dense(Width, 2, seed: 5), -1, SteeringPositions.All), new(RandomVectors.Sparse(Width, 1, 8, seed: 7), 1, SteeringPositions.All)],
        ];
        var alone = new List<string>();
        foreach (var settings in steering)
        {
            using var session = new SteeredSession(model, Small, settings);
            alone.Add(await Read(session.CompleteAsync("what is the model", Greedy)));
        }

        alone.Distinct().Should().HaveCountGreaterThan(1, "the vectors must matter");
        await OnThreads(async thread =>
        {
            for (var round = 0; round < 12; round++)
            {
                var mine = (thread + round) % steering.Length;
                using var session = new SteeredSession(model, Small); // vectors come and go on a session, too
                (await Read(session.CompleteAsync("what is the model", Greedy))).Should().Be(alone[0]);
                session.Steering = steering[mine];
                (await Read(session.CompleteAsync("what is the model", Greedy))).Should().Be(alone[mine]);
            }
        });
    }

    [Fact]
    public async Task Contexts_DisposedWhileAnotherThreadDecodesOrCancels_EndInOneOfTheDocumentedWays()
    {
        using var model = LlamaModel.Load(file.Path);
        var tokens = Enumerable.Repeat(300, 200).ToArray();
        var (decoded, stopped) = (0, 0);
        for (var round = 0; round < 60; round++)
        {
            var context = new LlamaContext(model, new ContextOptions { ContextSize = 256, BatchSize = 256, Threads = 1 });
            using var source = new CancellationTokenSource();
            var decoding = Task.Run(() =>
            {
                try
                {
                    while (true)
                    {
                        context.Remove(-1, 0);
                        context.Decode(Prompt(tokens), source.Token);
                        Interlocked.Increment(ref decoded);
                    }
                }
                catch (Exception e) when (e is ObjectDisposedException or OperationCanceledException)
                {
                    Interlocked.Increment(ref stopped);
                }
            });
            var cancelling = Task.Run(() =>
            {
                for (var i = 0; i < 200; i++)
                {
                    context.Cancel(); // documented for any thread: also when the context has just gone
                }

                source.Cancel();
            });
            await Task.Delay(round % 8);
            context.Dispose();
            context.Dispose();
            await Task.WhenAll(decoding, cancelling).WaitAsync(TimeSpan.FromMinutes(1));
        }

        stopped.Should().Be(60);
    }

    [Fact]
    public async Task Engines_TwoOnOneFile_StoppedWhileClientsSubmit_EndEveryRequest()
    {
        using var world = new EngineWorld();
        using var second = new EngineWorld();
        var random = new Random(5);
        for (var round = 0; round < 12; round++)
        {
            var engines = new[] { world.Engine(new BatchEngineOptions { Slots = 3, QueueLimit = 8 }), second.Engine(new BatchEngineOptions { Slots = 2, QueueLimit = 8 }) };
            var worlds = new[] { world, second };
            var outcomes = new int[4];
            var delay = random.Next(0, 40);
            var clients = Enumerable.Range(0, 8).Select(client => Task.Run(async () =>
            {
                for (var i = 0; i < 20; i++)
                {
                    var outcome = await Outcome(engines[client % 2], worlds[client % 2].Mixed((client * 31) + i), cancel: (client + i) % 5 == 0);
                    Interlocked.Increment(ref outcomes[outcome]);
                    if (engines[client % 2].Completion.IsCompleted)
                    {
                        return;
                    }
                }
            })).ToArray();
            await Task.Delay(delay);
            await Task.WhenAll(engines.Select(e => Task.Run(async () => await e.DisposeAsync()))); // from another thread than any client
            await Task.WhenAll(clients).WaitAsync(TimeSpan.FromMinutes(1));

            outcomes.Sum().Should().BeGreaterThanOrEqualTo(8, "every client got an answer of some kind");
            engines.Should().AllSatisfy(e =>
            {
                e.Failure.Should().BeNull();
                e.Statistics.Running.Should().Be(0);
                e.Statistics.Waiting.Should().Be(0);
            });
        }
    }

    [Fact]
    public void SetVectors_AThousandTimes_KeepsNoVectorAlive()
    {
        using var model = LlamaModel.Load(file.Path);
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 64, Threads = 1 });
        var seen = new List<WeakReference>();
        for (var i = 0; i < 1000; i++)
        {
            seen.Add(AttachAndDetach(context, i));
        }

        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();

        seen.Count(v => v.IsAlive).Should().Be(0, "neither a pin nor a list may hold a vector that was detached");
        context.Statistics.SteeringBytes.Should().Be(0);
    }

    [Fact]
    public void LoadAndDispose_AThousandTimes_KeepsNoModelContextOrSessionAlive()
    {
        var seen = new List<WeakReference>();
        for (var i = 0; i < 1000; i++)
        {
            LoadAndDispose(seen, modelFirst: i % 2 == 0);
        }

        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();

        seen.Count(v => v.IsAlive).Should().Be(0);
    }

    [MethodImpl(MethodImplOptions.NoInlining)] // nothing of it may stay in a register of the caller
    private static WeakReference AttachAndDetach(LlamaContext context, int i)
    {
        var vector = i % 2 == 0 ? RandomVectors.Dense(Width, i % 3, seed: i) : RandomVectors.Sparse(Width, 1, 8, seed: i);
        context.SetVectors([vector]);
        context.SetVectors([]);
        return new WeakReference(vector);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void LoadAndDispose(List<WeakReference> seen, bool modelFirst)
    {
        var model = LlamaModel.Load(file.Path);
        var session = new SteeredSession(model, Small with { Context = Small.Context with { ContextSize = 64 } }, [new(RandomVectors.Dense(Width, 0), 1, SteeringPositions.All)]);
        seen.AddRange([new(model), new(session)]);
        IDisposable[] order = modelFirst ? [model, session] : [session, model];
        Array.ForEach(order, o => o.Dispose());
    }

    /// <summary>0: answered, 1: cancelled, 2: refused while it waited, 3: refused when handed in.</summary>
    private static async Task<int> Outcome(BatchEngine engine, BatchRequest request, bool cancel)
    {
        try
        {
            var running = engine.Submit(request);
            if (cancel)
            {
                running.Cancel();
            }

            try
            {
                await ReadAnswer.Of(running);
                return 0;
            }
            catch (OperationCanceledException)
            {
                return 1;
            }
            catch (RequestRefusedException)
            {
                return 2;
            }
        }
        catch (RequestRefusedException)
        {
            return 3;
        }
    }

    private static Task OnThreads(Func<int, Task> work) =>
        Task.WhenAll(Enumerable.Range(0, Threads).Select(thread => Task.Factory.StartNew(() => work(thread).GetAwaiter().GetResult(), TaskCreationOptions.LongRunning))).WaitAsync(TimeSpan.FromMinutes(2));

    private static async Task<string> Read(IAsyncEnumerable<string> answer)
    {
        var text = "";
        await foreach (var piece in answer)
        {
            text += piece;
        }

        return text;
    }

    private static DecodeBatch Prompt(int[] tokens)
    {
        var batch = new DecodeBatch();
        for (var i = 0; i < tokens.Length; i++)
        {
            batch.Add(tokens[i], i, output: i == tokens.Length - 1);
        }

        return batch;
    }
}

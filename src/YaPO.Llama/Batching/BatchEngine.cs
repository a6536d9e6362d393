using System.Diagnostics;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Batching;

/// <summary>
/// Answers many requests at once from one context, each with its own vectors, strengths and sampling. One thread owns the context and repeats one
/// step: give free slots to waiting requests, put one token of every generating request and a part of the new prompts into one batch, decode it, sample.
/// The vectors that running requests use are attached together; the strengths of a batch row decide what acts on it. <see cref="Submit"/> may be called
/// from any thread.
/// </summary>
/// <remarks>
/// A request's result depends on what runs beside it only by rounding: products over batches of other sizes add in another order. At temperature 0 the
/// text may part from what the request gives alone where two tokens are within that rounding of each other.
/// </remarks>
public sealed class BatchEngine : IAsyncDisposable
{
    private readonly LlamaContext context;
    private readonly AttachedSet attached;
    private readonly SlotPool pool;
    private readonly FairQueue queue;
    private readonly TokenPieces vocabulary;
    private readonly LikeliestTokens likeliest = new();
    private readonly Dictionary<AttachedVector, int> columns = new(ReferenceEqualityComparer.Instance);
    private readonly StepPlan plan;
    private readonly AutoResetEvent wake = new(initialState: false);
    private readonly TaskCompletionSource exited = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock gate = new();
    private EngineStatistics statistics = new();
    private IReadOnlyList<RunningAnswer> decoding = [];
    private bool released;
    private volatile bool stopping;
    private volatile bool abandon;
    private volatile bool cutOff;

    /// <summary>Creates the context, checks that the vectors fit and starts the engine's thread.</summary>
    /// <param name="model">Stays the caller's; only the engine's thread uses it from now on (load a vocabulary-only copy to tokenize with).</param>
    /// <param name="options">Null: defaults.</param>
    /// <param name="vectors">Every vector that a request may use.</param>
    /// <exception cref="YapoException">The sizes do not fit together, or a vector does not fit the model.</exception>
    public BatchEngine(LlamaModel model, BatchEngineOptions? options = null, IReadOnlyList<AttachedVector>? vectors = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        options ??= new BatchEngineOptions();
        Model = model;
        RequestTokens = options.RequestTokens > 0 ? options.RequestTokens : Math.Clamp(model.Info.TrainingContext, 1, 4096);
        Cells = options.Cells > 0 ? options.Cells : (int)Math.Min((long)options.Slots * RequestTokens, Math.Max(RequestTokens, 16384));
        Options = options;
        Require(options.Slots is > 0 and <= 256, $"slots: {options.Slots}, expected 1 to 256");
        Require(options.PrefillChunk > 0, $"prefill chunk: {options.PrefillChunk}, expected at least 1");
        Require(RequestTokens is > 1 && RequestTokens <= Cells, $"a request of {RequestTokens} tokens does not fit into {Cells} cells");
        var batchSize = Math.Max(options.Context.BatchSize > 0 ? options.Context.BatchSize : 512, options.Slots);
        context = new LlamaContext(model, options.Context with { ContextSize = Cells, Sequences = options.Slots, BatchSize = batchSize, FullSlidingWindowCache = true });
        foreach (var vector in vectors ?? [])
        {
            columns.TryAdd(vector, columns.Count);
        }

        try
        {
            attached = new AttachedSet(context, [.. columns.Keys]);
        }
        catch
        {
            context.Dispose();
            throw;
        }

        plan = new StepPlan(attached, columns.Count, batchSize, options.PrefillChunk);
        pool = new SlotPool(context, options.Slots, Cells);
        queue = new FairQueue(options.QueueLimit, options.QueueLimitPerClient);
        vocabulary = new TokenPieces(model);
        new Thread(Run) { IsBackground = true, Name = "yapo-engine" }.Start();
    }

    /// <summary>The model that answers.</summary>
    public LlamaModel Model { get; }

    /// <summary>What it was created with.</summary>
    public BatchEngineOptions Options { get; }

    /// <summary>Most tokens of one request.</summary>
    public int RequestTokens { get; }

    /// <summary>KV cells of all requests together.</summary>
    public int Cells { get; }

    /// <summary>The vectors that requests may use.</summary>
    public IReadOnlyCollection<AttachedVector> Vectors => columns.Keys;

    /// <summary>What it did so far.</summary>
    public EngineStatistics Statistics
    {
        get
        {
            lock (gate)
            {
                return statistics with { Waiting = queue.Count };
            }
        }
    }

    /// <summary>What ended the engine's thread although nobody asked it to; null while all is well.</summary>
    public Exception? Failure { get; private set; }

    /// <summary>Done when the engine's thread has ended, on request or by <see cref="Failure"/>.</summary>
    public Task Completion => exited.Task;

    internal int VectorCount => columns.Count;

    /// <summary>Hands in a request. It waits for a slot and runs then; read its answer from what is returned.</summary>
    /// <exception cref="YapoException">It can never run: the prompt is too long, a vector is not attached, a stop text is empty.</exception>
    /// <exception cref="RequestRefusedException">Not now.</exception>
    public RunningAnswer Submit(BatchRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        Require(
            request.Prompt.Count < RequestTokens,
            $"the prompt has {request.Prompt.Count} tokens; a request may have {RequestTokens}, and at least one belongs to the answer. Shorten the prompt or start the engine with larger requests");
        Require(request.Generation.MaxTokens > 0, $"the answer may have {request.Generation.MaxTokens} tokens, expected at least 1");
        Require(request.Stop.All(stop => stop.Length > 0), "a stop text is empty");
        var used = new int[request.Steering.Count];
        for (var i = 0; i < used.Length; i++)
        {
            var setting = request.Steering[i];
            Require(float.IsFinite(setting.Strength), $"vector {setting.Vector.Name}: the strength is not finite");
            Require(columns.TryGetValue(setting.Vector, out used[i]), $"vector {setting.Vector.Name} is not one of this engine's");
        }

        var answer = new RunningAnswer(this, request, used, Math.Min(request.Generation.MaxTokens, RequestTokens - request.Prompt.Count));
        if (Failure is { } failure)
        {
            throw new RequestRefusedException(RefusalReason.Stopping, $"the engine has stopped after an error: {failure.Message}");
        }

        queue.Add(answer);
        wake.Set();
        return answer;
    }

    /// <summary>
    /// Takes no more requests, refuses those that wait, lets those that run finish within <paramref name="grace"/>, cancels the rest, and releases the
    /// context. May be called again, with a shorter grace.
    /// </summary>
    /// <returns>Whether everything that ran could finish.</returns>
    public async Task<bool> StopAsync(TimeSpan grace)
    {
        stopping = true;
        foreach (var answer in queue.Close())
        {
            answer.Fail(new RequestRefusedException(RefusalReason.Stopping, "the engine was shut down before the request could start"));
        }

        wake.Set();
        await Task.WhenAny(exited.Task, Task.Delay(grace)).ConfigureAwait(false);
        abandon = true;
        Interrupt();
        wake.Set();
        await exited.Task.ConfigureAwait(false);
        return !cutOff;
    }

    /// <summary>Cancels everything and releases the context.</summary>
    public async ValueTask DisposeAsync() => await StopAsync(TimeSpan.Zero).ConfigureAwait(false);

    internal void OnCancelled(RunningAnswer answer)
    {
        if (queue.Remove(answer))
        {
            answer.Finish(FinishReason.Cancelled);
            Count(s => s with { Cancelled = s.Cancelled + 1 });
            return;
        }

        if (Volatile.Read(ref decoding) is { Count: > 0 } current && current.All(a => a.IsCancelled))
        {
            Interrupt(); // nobody is left who wants this batch
        }

        wake.Set();
    }

    private static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, message);
        }
    }

    private void Run()
    {
        try
        {
            while (true)
            {
                EndCancelled();
                queue.Take(Admit);
                if (pool.Running.Count > 0)
                {
                    Step();
                }
                else if (stopping)
                {
                    break;
                }
                else
                {
                    wake.WaitOne();
                }
            }
        }
#pragma warning disable CA1031 // whatever it is, every request must hear of it
        catch (Exception e)
#pragma warning restore CA1031
        {
            Failure = e;
            var error = new YapoException(YapoErrorKind.Failed, $"the engine failed: {e.Message}", e);
            foreach (var answer in pool.Running.Select(s => s.Answer!).Concat(queue.Close()))
            {
                answer.Fail(error);
            }
        }
        finally
        {
            lock (gate)
            {
                released = true;
                context.Dispose();
            }

            exited.SetResult();
        }
    }

    /// <summary>Makes the decode that is running now end soon.</summary>
    private void Interrupt()
    {
        lock (gate)
        {
            if (!released)
            {
                context.Cancel();
            }
        }
    }

    private void EndCancelled()
    {
        foreach (var slot in pool.Running.Where(s => abandon || s.Answer!.IsCancelled).ToList())
        {
            cutOff |= !slot.Answer!.IsCancelled;
            End(slot, FinishReason.Cancelled);
        }
    }

    private bool? Admit(RunningAnswer answer)
    {
        if (!pool.HasRoomFor(answer))
        {
            return null; // in turn: nobody smaller overtakes
        }

        if (pool.IsPrefixUnderWay(answer))
        {
            return false;
        }

        try
        {
            answer.Prepare(Model);
            var slot = pool.Acquire(answer);
            answer.Start(slot.Cached);
            Count(s => s with { CachedTokens = s.CachedTokens + slot.Cached, Running = pool.Running.Count, CellsTaken = pool.CellsTaken });
        }
        catch (YapoException e)
        {
            answer.Fail(e);
            Count(s => s with { Failed = s.Failed + 1 });
        }

        return true;
    }

    private void Step()
    {
        try
        {
            plan.Make(pool.Running, Statistics.DecodeTime);
        }
        catch (YapoException e) // no memory for the vectors
        {
            pool.Running.ToList().ForEach(slot => End(slot, e));
            return;
        }

        Volatile.Write(ref decoding, plan.Slots.ConvertAll(p => p.Slot.Answer!));
        var start = Stopwatch.GetTimestamp();
        try
        {
            if (decoding.All(a => a.IsCancelled))
            {
                return;
            }

            context.Decode(plan.Batch);
        }
        catch (OperationCanceledException)
        {
            // Requests that go on although a late cancellation hit their batch start again from their tokens.
            plan.Slots.ForEach(p => p.Slot.Clear(context));
            return;
        }
        catch (YapoException e)
        {
            foreach (var (slot, _, _) in plan.Slots)
            {
                slot.Clear(context);
                End(slot, e);
            }

            return;
        }
        finally
        {
            Volatile.Write(ref decoding, []);
        }

        var time = Stopwatch.GetElapsedTime(start);
        var (prompt, generated) = (0, 0);
        foreach (var (slot, count, row) in plan.Slots)
        {
            var answer = slot.Answer!;
            prompt += Math.Clamp(answer.Request.Prompt.Count - slot.Cached, 0, count);
            for (var i = 0; i < count; i++)
            {
                slot.Append(answer.Sequence[slot.Cached].Id, answer.StrengthsAt(slot.Cached));
            }

            if (row >= 0 && !answer.IsCancelled)
            {
                generated++;
                Advance(slot, row);
            }
        }

        Count(s => s with
        {
            Steps = s.Steps + 1,
            AttachedVectors = attached.Count,
            AttachmentChanges = attached.Changes,
            DecodeTime = s.DecodeTime + time,
            PromptTokens = s.PromptTokens + prompt,
            GeneratedTokens = s.GeneratedTokens + generated,
        });
    }

    private void Advance(Slot slot, int row)
    {
        try
        {
            if (slot.Answer!.Advance(context, row, vocabulary, likeliest) is { } reason)
            {
                End(slot, reason);
            }
        }
        catch (YapoException e)
        {
            End(slot, e);
        }
    }

    private void End(Slot slot, FinishReason reason)
    {
        var answer = slot.Answer!;
        pool.Release(slot);
        Count(s => s with
        {
            Running = pool.Running.Count,
            CellsTaken = pool.CellsTaken,
            Cancelled = s.Cancelled + (reason == FinishReason.Cancelled ? 1 : 0),
            Finished = s.Finished + (reason == FinishReason.Cancelled ? 0 : 1),
        });
        answer.Finish(reason); // last: who waits for the end finds the slot free
    }

    private void End(Slot slot, YapoException error)
    {
        var answer = slot.Answer!;
        pool.Release(slot);
        Count(s => s with { Failed = s.Failed + 1, Running = pool.Running.Count, CellsTaken = pool.CellsTaken });
        answer.Fail(error);
    }

    private void Count(Func<EngineStatistics, EngineStatistics> change)
    {
        lock (gate)
        {
            statistics = change(statistics);
        }
    }
}

using System.Diagnostics;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Batching;

/// <summary>
/// The engine's thread, the only one that touches the context: gives free slots to waiting requests, makes one batch of all that run, decodes it, samples, and begins again until it is
/// told to stop and nothing runs.
/// </summary>
internal sealed class EngineLoop
{
    private readonly LlamaModel model;
    private readonly LlamaContext context;
    private readonly AttachedSet attached;
    private readonly SlotPool pool;
    private readonly FairQueue queue;
    private readonly TokenPieces vocabulary;
    private readonly LikeliestTokens likeliest = new();
    private readonly StepPlan plan;
    private readonly object signal = new();
    private readonly TaskCompletionSource exited = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock gate = new();
    private EngineStatistics statistics = new();
    private IReadOnlyList<RunningAnswer> decoding = [];
    private bool signalled;
    private bool released;
    private volatile bool stopping;
    private volatile bool abandon;
    private volatile bool cutOff;

    /// <summary>Takes over a context and a queue; begins with <see cref="Start"/>.</summary>
    public EngineLoop(LlamaModel model, LlamaContext context, AttachedSet attached, SlotPool pool, FairQueue queue, StepPlan plan)
    {
        (this.model, this.context, this.attached, this.pool, this.queue, this.plan) = (model, context, attached, pool, queue, plan);
        vocabulary = new TokenPieces(model);
    }

    /// <summary>What was done so far.</summary>
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

    /// <summary>What ended the thread although nobody asked it to; null while all is well.</summary>
    public Exception? Failure { get; private set; }

    /// <summary>Done when the thread has ended.</summary>
    public Task Completion => exited.Task;

    /// <summary>Whether a request that still wanted its answer was cut off by <see cref="Abandon"/>.</summary>
    public bool CutOff => cutOff;

    /// <summary>Starts the thread.</summary>
    public void Start() => new Thread(Run) { IsBackground = true, Name = "yapo-engine" }.Start();

    /// <summary>Something waits in the queue.</summary>
    public void Wake()
    {
        lock (signal)
        {
            signalled = true;
            Monitor.Pulse(signal);
        }
    }

    /// <summary>Ends when nothing runs any more.</summary>
    public void Stop()
    {
        stopping = true;
        Wake();
    }

    /// <summary>Ends now; what runs is cancelled.</summary>
    public void Abandon()
    {
        abandon = true;
        Interrupt();
        Wake();
    }

    /// <summary>A running request is not wanted any more.</summary>
    public void OnCancelled()
    {
        if (Volatile.Read(ref decoding) is { Count: > 0 } current && current.All(a => a.IsCancelled))
        {
            Interrupt(); // nobody is left who wants this batch
        }

        Wake();
    }

    /// <summary>Counts something.</summary>
    public void Count(Func<EngineStatistics, EngineStatistics> change)
    {
        lock (gate)
        {
            statistics = change(statistics);
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
                    Wait();
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

    private void Wait()
    {
        lock (signal)
        {
            while (!signalled)
            {
                Monitor.Wait(signal);
            }

            signalled = false;
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
            answer.Prepare(model);
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
            // Who needs none but those that are attached goes on with the next step; without such a one nobody can.
            var stuck = pool.Running.Where(s => !attached.Holds(s.Answer!)).ToList();
            (stuck.Count > 0 ? stuck : [.. pool.Running]).ForEach(slot => End(slot, e));
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
}

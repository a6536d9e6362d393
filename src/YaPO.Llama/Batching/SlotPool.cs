using YaPO.Llama.Sessions;

namespace YaPO.Llama.Batching;

/// <summary>
/// Gives slots to requests: where most of the prompt is cached under the same steering, sharing the cells of another slot where that one keeps them.
/// What a running request may come to need is set aside for it; what idle slots remember gives way, the least recently used first.
/// </summary>
internal sealed class SlotPool
{
    // Waiting for another request's prompt is worth it only where it saves more than a step.
    private const int WorthWaitingFor = 16;

    private readonly LlamaContext context;
    private readonly Slot[] slots;
    private readonly int cells;
    private long clock;

    public SlotPool(LlamaContext context, int count, int cells)
    {
        (this.context, this.cells) = (context, cells);
        slots = [.. Enumerable.Range(0, count).Select(i => new Slot(i))];
    }

    /// <summary>Slots with a request, the longest running first.</summary>
    public List<Slot> Running { get; } = [];

    /// <summary>Cells set aside or remembered.</summary>
    public int CellsTaken => slots.Sum(s => s.Cells);

    /// <summary>Whether a slot and the cells are there for a request.</summary>
    public bool HasRoomFor(RunningAnswer answer) => Running.Count < slots.Length && Running.Sum(s => s.Cells) + answer.CellsNeeded <= cells;

    /// <summary>Whether a running request is evaluating a beginning that this one shares, so that waiting for it saves evaluating it twice.</summary>
    public bool IsPrefixUnderWay(RunningAnswer answer)
    {
        var cached = slots.Max(s => s.Match(answer));
        return Running.Any(s => s.Answer!.Sequence.Count - s.Cached > 1 && SharedPrompt(s.Answer, answer) > Math.Max(s.Cached, cached) + WorthWaitingFor);
    }

    /// <summary>Gives a slot to a request for which there is room. What it can reuse is in the slot's cache then.</summary>
    public Slot Acquire(RunningAnswer answer)
    {
        var source = slots.MaxBy(s => s.Match(answer))!;
        var match = source.Match(answer);
        var free = slots.Where(s => s.Answer is null).OrderBy(s => s.Cached > 0).ThenBy(s => s.LastUsed).ToList();

        // Taking over an idle slot forgets what lies behind the match; sharing its cells does not.
        var takeOver = source.Answer is null && (free.Count == 1 || 2 * match >= source.Cached);
        var target = takeOver ? source : free.First(s => s != source);
        target.Truncate(context, target.Match(answer));
        if (target.Cached < match)
        {
            target.CopyFrom(context, source, match);
        }

        target.Answer = answer;
        target.LastUsed = ++clock;
        foreach (var idle in free.Where(s => s != target))
        {
            if (CellsTaken <= cells)
            {
                break;
            }

            idle.Truncate(context, 0);
        }

        Running.Add(target);
        return target;
    }

    /// <summary>The request of a slot has ended; the slot remembers what it computed.</summary>
    public void Release(Slot slot)
    {
        Running.Remove(slot);
        slot.Answer = null;
        slot.LastUsed = ++clock;
    }

    private static int SharedPrompt(RunningAnswer a, RunningAnswer b)
    {
        var most = Math.Min(a.Request.Prompt.Count, b.Request.Prompt.Count - 1);
        var n = 0;
        while (n < most && a.Sequence[n].Id == b.Sequence[n].Id && a.StrengthsAt(n).AsSpan().SequenceEqual(b.StrengthsAt(n)))
        {
            n++;
        }

        return n;
    }
}

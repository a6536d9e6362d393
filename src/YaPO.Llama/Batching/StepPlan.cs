using YaPO.Llama.Sessions;

namespace YaPO.Llama.Batching;

/// <summary>What one slot puts into a batch.</summary>
/// <param name="Slot">With its request.</param>
/// <param name="Count">Tokens.</param>
/// <param name="Row">The batch row whose logits the request needs; −1 while its prompt goes on.</param>
internal readonly record struct PlannedSlot(Slot Slot, int Count, int Row);

/// <summary>
/// The next batch: one row for every request that generates; the rest is shared out evenly among the prompts, at most
/// <see cref="BatchEngineOptions.PrefillChunk"/> of it while something is generated.
/// </summary>
internal sealed class StepPlan(AttachedSet attached, int vectorCount, int batchSize, int prefillChunk)
{
    private readonly float[] strengths = new float[vectorCount];

    /// <summary>The rows.</summary>
    public DecodeBatch Batch { get; } = new();

    /// <summary>Where they come from, in this order.</summary>
    public List<PlannedSlot> Slots { get; } = [];

    /// <summary>Plans the next step of the running slots, attaching the vectors that they need.</summary>
    /// <param name="running">Slots with a request.</param>
    /// <param name="now">The time spent in decoding so far.</param>
    /// <exception cref="YapoException">The vectors cannot be attached.</exception>
    public void Make(IReadOnlyCollection<Slot> running, TimeSpan now)
    {
        Slots.Clear();
        attached.Update([.. running.Select(s => s.Answer!)], now);
        Batch.Clear(attached.Count);
        foreach (var slot in running.Where(s => Missing(s) == 1))
        {
            Add(slot, 1);
        }

        var room = batchSize - Batch.Count;
        if (Batch.Count > 0)
        {
            room = Math.Min(room, prefillChunk);
        }

        // The shortest first: what it leaves of its share goes to the longer ones.
        var prompts = running.Where(s => Missing(s) > 1).OrderBy(Missing).ToList();
        for (var i = 0; i < prompts.Count && room > 0; i++)
        {
            var share = Math.Max(1, room / (prompts.Count - i));
            var count = Math.Min(share, Missing(prompts[i]));
            Add(prompts[i], count);
            room -= count;
        }
    }

    private static int Missing(Slot slot) => slot.Answer!.Sequence.Count - slot.Cached;

    private void Add(Slot slot, int count)
    {
        var answer = slot.Answer!;
        var row = -1;
        for (var position = slot.Cached; position < slot.Cached + count; position++)
        {
            var last = position == answer.Sequence.Count - 1;
            var added = Batch.Add(answer.Sequence[position].Id, position, slot.Sequence, output: last, attached.Select(answer.StrengthsAt(position), strengths));
            row = last ? added : row;
        }

        Slots.Add(new PlannedSlot(slot, count, row));
    }
}

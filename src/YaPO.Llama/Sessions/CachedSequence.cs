using YaPO.Llama.Steering;

namespace YaPO.Llama.Sessions;

/// <summary>A token and what it is in the text.</summary>
internal readonly record struct SequenceToken(int Id, TokenRole Role);

/// <summary>
/// One sequence of a context that knows what every cached position was computed with: its token and the strength of every vector there. Before an
/// evaluation it compares that with what is wanted and starts again at the first position that differs, because keys and values above a steered
/// layer belong to one steering only.
/// </summary>
/// <remarks>
/// Going back lands on a multiple of the batch size. So whatever is evaluated after it is cut into the same batches as in a new session, and when the
/// first difference lies in the first batch (a changed strength at all positions, another prompt) the logits equal a fresh run's bit for bit on the
/// CPU. Elsewhere they equal it up to the rounding of differently cut batches.
/// </remarks>
internal sealed class CachedSequence(LlamaContext context, int sequence = 0)
{
    private readonly List<int> tokens = [];
    private readonly List<Applied[]> steered = [];
    private readonly DecodeBatch batch = new();
    private Applied[] lastApplied = [];

    /// <summary>Positions in the cache.</summary>
    public int Count => tokens.Count;

    /// <summary>Tokens that the last <see cref="Evaluate"/> computed.</summary>
    public int LastEvaluated { get; private set; }

    /// <summary>The batch row of the last <see cref="Evaluate"/> whose logits follow the last token.</summary>
    public int LastRow { get; private set; }

    /// <summary>
    /// Makes the cache hold exactly <paramref name="wanted"/> under <paramref name="steering"/>, and the logits after the last token available.
    /// </summary>
    /// <param name="wanted">At least one token.</param>
    /// <param name="steering">Vectors, strengths, positions.</param>
    /// <param name="keepCache">Positions already cached stay as they were computed, even where the steering differs.</param>
    /// <param name="cancellation">Stops the evaluation; the cache then holds what was finished.</param>
    /// <returns>The batch row whose logits follow the last token.</returns>
    public int Evaluate(IReadOnlyList<SequenceToken> wanted, IReadOnlyList<SteeringSetting> steering, bool keepCache, CancellationToken cancellation)
    {
        Attach(steering);
        var start = Start(wanted, steering, keepCache);
        if (start < tokens.Count)
        {
            Rewind(start);
            start = tokens.Count;
        }

        LastEvaluated = wanted.Count - start;
        var row = -1;
        while (start < wanted.Count)
        {
            var end = Math.Min(wanted.Count, start + context.BatchSize);
            batch.Clear(steering.Count);
            var strengths = new float[steering.Count];
            var applied = new List<Applied[]>(end - start);
            for (var position = start; position < end; position++)
            {
                for (var i = 0; i < strengths.Length; i++)
                {
                    strengths[i] = steering[i].At(position, wanted[position].Role);
                }

                row = batch.Add(wanted[position].Id, position, sequence, output: position == wanted.Count - 1, strengths);
                applied.Add(At(position, wanted[position].Role, steering));
            }

            try
            {
                context.Decode(batch, cancellation);
            }
            catch
            {
                Rewind(start);
                throw;
            }

            tokens.AddRange(Enumerable.Range(start, end - start).Select(position => wanted[position].Id));
            steered.AddRange(applied);
            start = end;
        }

        return LastRow = row;
    }

    /// <summary>Forgets everything.</summary>
    public void Clear() => Rewind(0);

    private void Attach(IReadOnlyList<SteeringSetting> steering)
    {
        if (!SameVectors(context.Vectors, steering))
        {
            context.SetVectors([.. steering.Select(s => s.Vector)]);
        }
    }

    private static bool SameVectors(IReadOnlyList<AttachedVector> attached, IReadOnlyList<SteeringSetting> steering)
    {
        if (attached.Count != steering.Count)
        {
            return false;
        }

        for (var i = 0; i < attached.Count; i++)
        {
            if (!ReferenceEquals(attached[i], steering[i].Vector))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>The first position to evaluate: at most the last one wanted, since its logits are needed.</summary>
    private int Start(IReadOnlyList<SequenceToken> wanted, IReadOnlyList<SteeringSetting> steering, bool keepCache)
    {
        var comparable = Math.Min(tokens.Count, wanted.Count);
        var first = 0;
        while (first < comparable
            && tokens[first] == wanted[first].Id
            && (keepCache || steered[first].AsSpan().SequenceEqual(At(first, wanted[first].Role, steering))))
        {
            first++;
        }

        first = Math.Min(first, wanted.Count - 1);
        return first < tokens.Count ? first / context.BatchSize * context.BatchSize : first;
    }

    private void Rewind(int position)
    {
        // A pruned sliding window has forgotten what the positions before this one need.
        position = context.CanRewind ? position : 0;
        try
        {
            context.Remove(sequence, position);
        }
        catch (YapoException) when (position > 0)
        {
            // Recurrent states cannot go back part of the way.
            context.Remove(sequence, 0);
            position = 0;
        }

        if (position < tokens.Count)
        {
            tokens.RemoveRange(position, tokens.Count - position);
            steered.RemoveRange(position, steered.Count - position);
        }
    }

    /// <summary>What acts at a position: the vectors with a strength other than 0. Runs of equal positions share one array.</summary>
    private Applied[] At(int position, TokenRole role, IReadOnlyList<SteeringSetting> steering)
    {
        var n = 0;
        var same = true;
        foreach (var setting in steering)
        {
            if (setting.At(position, role) is var strength && strength != 0)
            {
                same = same && n < lastApplied.Length && lastApplied[n] == new Applied(setting.Vector, strength);
                n++;
            }
        }

        return same && n == lastApplied.Length
            ? lastApplied
            : lastApplied = [.. steering.Select(s => new Applied(s.Vector, s.At(position, role))).Where(a => a.Strength != 0)];
    }

    private readonly record struct Applied(AttachedVector Vector, float Strength);
}

using YaPO.Llama.Sessions;

namespace YaPO.Llama.Batching;

/// <summary>
/// One sequence of the engine's context and what every cached position of it was computed with: its token and the strength of every vector of the
/// engine there. A request may go on from positions that agree in both, whoever computed them.
/// </summary>
internal sealed class Slot(int sequence)
{
    private readonly List<int> tokens = [];
    private readonly List<float[]> strengths = [];

    /// <summary>Its sequence in the context.</summary>
    public int Sequence { get; } = sequence;

    /// <summary>Positions in the cache.</summary>
    public int Cached => tokens.Count;

    /// <summary>The request that runs in it; null when it only remembers.</summary>
    public RunningAnswer? Answer { get; set; }

    /// <summary>The step in which it was used last.</summary>
    public long LastUsed { get; set; }

    /// <summary>Cells it may come to occupy: all that its request may need, or what it remembers.</summary>
    public int Cells => Answer?.CellsNeeded ?? Cached;

    /// <summary>How many positions from the front are what a request needs. At most all but the last, whose logits the request needs.</summary>
    public int Match(RunningAnswer answer)
    {
        var most = Math.Min(tokens.Count, answer.Sequence.Count - 1);
        var n = 0;
        while (n < most && tokens[n] == answer.Sequence[n].Id && SameStrengths(strengths[n], answer.StrengthsAt(n)))
        {
            n++;
        }

        return n;
    }

    /// <summary>Positions were evaluated.</summary>
    public void Append(int token, float[] row)
    {
        tokens.Add(token);
        strengths.Add(row);
    }

    /// <summary>Forgets positions from <paramref name="count"/> on, all of them where the model's memory cannot forget a part.</summary>
    public void Truncate(LlamaContext context, int count)
    {
        if (count >= tokens.Count)
        {
            return;
        }

        try
        {
            context.Remove(Sequence, count);
        }
        catch (YapoException) when (count > 0)
        {
            count = 0;
            context.Remove(Sequence, 0);
        }

        tokens.RemoveRange(count, tokens.Count - count);
        strengths.RemoveRange(count, strengths.Count - count);
    }

    /// <summary>Shares the positions of another slot from where this one ends up to <paramref name="count"/>; nothing where the model's memory cannot share a part.</summary>
    public void CopyFrom(LlamaContext context, Slot source, int count)
    {
        var start = tokens.Count;
        try
        {
            context.Copy(source.Sequence, Sequence, start, count);
        }
        catch (YapoException)
        {
            return;
        }

        tokens.AddRange(source.tokens.GetRange(start, count - start));
        strengths.AddRange(source.strengths.GetRange(start, count - start));
    }

    /// <summary>Forgets everything, whatever state a failed evaluation left.</summary>
    public void Clear(LlamaContext context)
    {
        context.Remove(Sequence, 0);
        tokens.Clear();
        strengths.Clear();
    }

    private static bool SameStrengths(float[] a, float[] b) => ReferenceEquals(a, b) || a.AsSpan().SequenceEqual(b);
}

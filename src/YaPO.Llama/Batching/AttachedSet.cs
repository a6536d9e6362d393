using YaPO.Llama.Sessions;

namespace YaPO.Llama.Batching;

/// <summary>
/// Which of the allowed vectors are attached to the context now. Every attached vector is computed at every token, used or not, so only those are attached
/// that running requests use, and those used a moment ago: attaching copies the rows of all to the device and builds the graph anew.
/// </summary>
internal sealed class AttachedSet
{
    private static readonly TimeSpan Linger = TimeSpan.FromSeconds(10);

    private readonly LlamaContext context;
    private readonly AttachedVector[] allowed;
    private readonly TimeSpan[] lastUsed;
    private int[] columns = [];

    /// <summary>Attaches everything once, so that what does not fit is refused now.</summary>
    /// <exception cref="YapoException">A vector does not fit the model.</exception>
    public AttachedSet(LlamaContext context, IReadOnlyList<AttachedVector> allowed)
    {
        (this.context, this.allowed, lastUsed) = (context, [.. allowed], new TimeSpan[allowed.Count]);
        Array.Fill(lastUsed, -2 * Linger);
        context.SetVectors(allowed);
        context.SetVectors([]);
    }

    /// <summary>Strengths per batch row.</summary>
    public int Count => columns.Length;

    /// <summary>Times the set was changed.</summary>
    public long Changes { get; private set; }

    /// <summary>Attaches what these answers need and lets go of what has not been used for a while. Where there is no room for both, what only lingers goes first.</summary>
    /// <param name="answers">Those that run.</param>
    /// <param name="now">The time that was spent in decoding: while nothing runs, nothing is let go of.</param>
    /// <exception cref="YapoException">Not all that is needed can be attached; the set is as it was, and answers that it holds everything for can go on (<see cref="Holds"/>).</exception>
    public void Update(IReadOnlyCollection<RunningAnswer> answers, TimeSpan now)
    {
        var missing = false;
        foreach (var column in answers.SelectMany(a => a.Columns))
        {
            lastUsed[column] = now;
            missing |= Array.IndexOf(columns, column) < 0;
        }

        if (!missing && Array.TrueForAll(columns, c => now - lastUsed[c] <= Linger))
        {
            return;
        }

        int[] wanted = [.. Enumerable.Range(0, allowed.Length).Where(c => now - lastUsed[c] <= Linger)];
        int[] needed = [.. answers.SelectMany(a => a.Columns).Distinct().Order()];
        try
        {
            Attach(wanted);
        }
        catch (YapoException) when (needed.Length < wanted.Length)
        {
            Forget(wanted.Except(needed));
            try
            {
                Attach(needed);
            }
            catch (YapoException)
            {
                Forget(needed.Except(columns));
                throw;
            }
        }
        catch (YapoException)
        {
            // What could not be attached must not stand in the way of those who ask for other vectors.
            Forget(needed.Except(columns));
            throw;
        }
    }

    /// <summary>Whether everything that an answer needs is attached.</summary>
    public bool Holds(RunningAnswer answer) => answer.Columns.All(c => Array.IndexOf(columns, c) >= 0);

    private void Attach(int[] wanted)
    {
        context.SetVectors([.. wanted.Select(c => allowed[c])]);
        columns = wanted;
        Changes++;
    }

    private void Forget(IEnumerable<int> unattached)
    {
        foreach (var column in unattached)
        {
            lastUsed[column] = -2 * Linger;
        }
    }

    /// <summary>The strengths of the attached vectors, out of those of all allowed ones.</summary>
    public ReadOnlySpan<float> Select(float[] strengths, float[] room)
    {
        for (var i = 0; i < columns.Length; i++)
        {
            room[i] = strengths[columns[i]];
        }

        return room.AsSpan(0, columns.Length);
    }
}

using System.Text;
using YaPO.Llama.Models;

namespace YaPO.Llama.Batching;

/// <summary>
/// Joins token pieces into text and watches for stop texts: whatever could be the beginning of one is held back until it is decided, so that no reader
/// ever sees a part of a stop text.
/// </summary>
internal sealed class AnswerText(IReadOnlyList<string> stops)
{
    private readonly Utf8Assembler utf8 = new();
    private readonly StringBuilder held = new();
    private readonly Queue<SampledToken> tokens = new();
    private int released;

    /// <summary>Whether a stop text has come.</summary>
    public bool Stopped { get; private set; }

    /// <summary>Takes the bytes of a token and returns the text that is safe to show.</summary>
    public string Append(ReadOnlySpan<byte> piece, SampledToken? token)
    {
        if (token is not null)
        {
            tokens.Enqueue(token with { TextStart = released + held.Length });
        }

        held.Append(utf8.Append(piece));
        return Release();
    }

    /// <summary>What was held back, once nothing more comes.</summary>
    public string Flush()
    {
        if (Stopped)
        {
            return "";
        }

        held.Append(utf8.Flush());
        var rest = Release();
        return Stopped ? rest : rest + Take(held.Length);
    }

    /// <summary>The tokens whose text begins before the end of what was released (all that are left when <paramref name="all"/> and no stop text came).</summary>
    public IReadOnlyList<SampledToken> TakeTokens(bool all)
    {
        if (tokens.Count == 0)
        {
            return [];
        }

        var ready = new List<SampledToken>();
        while (tokens.TryPeek(out var next) && (next.TextStart < released || (all && !Stopped)))
        {
            ready.Add(tokens.Dequeue());
        }

        return ready;
    }

    private string Release()
    {
        if (stops.Count == 0)
        {
            return Take(held.Length);
        }

        var text = held.ToString();
        var first = -1;
        foreach (var stop in stops)
        {
            var at = text.IndexOf(stop, StringComparison.Ordinal);
            first = at >= 0 && (first < 0 || at < first) ? at : first;
        }

        if (first >= 0)
        {
            Stopped = true;
            return Take(first);
        }

        return Take(text.Length - stops.Max(stop => Overlap(text, stop)));
    }

    /// <summary>The longest end of <paramref name="text"/> that <paramref name="stop"/> begins with.</summary>
    private static int Overlap(string text, string stop)
    {
        for (var n = Math.Min(text.Length, stop.Length - 1); n > 0; n--)
        {
            if (text.AsSpan(text.Length - n).SequenceEqual(stop.AsSpan(0, n)))
            {
                return n;
            }
        }

        return 0;
    }

    private string Take(int length)
    {
        var text = held.ToString(0, length);
        held.Remove(0, length);
        released += length;
        return text;
    }
}

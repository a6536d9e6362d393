using System.Text;

namespace YaPO.Llama.DemoWorld.Vocabulary;

/// <summary>Byte-pair encoding: merges the most frequent neighbours until the vocabulary is full. Ties go to the smaller text, so that equal corpora give equal vocabularies.</summary>
public static class BpeTrainer
{
    /// <summary>Learns pieces, in the order in which they rank: merges first, then single characters.</summary>
    /// <param name="counts">How often each stretch (see <see cref="PreTokens"/>) occurs.</param>
    /// <param name="pieces">How many pieces there may be at most, characters included.</param>
    public static List<string> Train(IReadOnlyDictionary<string, long> counts, int pieces)
    {
        var words = counts.OrderBy(c => c.Key, StringComparer.Ordinal)
            .Select(c => (Symbols: c.Key.EnumerateRunes().Select(r => r.ToString()).ToList(), Count: c.Value)).ToList();
        var characters = words.SelectMany(w => w.Symbols.Select(s => (s, w.Count))).GroupBy(x => x.s)
            .OrderByDescending(g => g.Sum(x => x.Count)).ThenBy(g => g.Key, StringComparer.Ordinal).Select(g => g.Key).ToList();
        var merges = new List<string>();
        var known = characters.ToHashSet(StringComparer.Ordinal);
        while (known.Count < pieces && Best(words) is { } best)
        {
            foreach (var (symbols, _) in words)
            {
                Merge(symbols, best.Left, best.Right);
            }

            // Two different pairs can make the same text; the second time only the segmentation changes.
            if (known.Add(best.Left + best.Right))
            {
                merges.Add(best.Left + best.Right);
            }
        }

        return [.. merges, .. characters];
    }

    private static (string Left, string Right)? Best(List<(List<string> Symbols, long Count)> words)
    {
        var pairs = new Dictionary<(string Left, string Right), long>();
        foreach (var (symbols, count) in words)
        {
            for (var i = 1; i < symbols.Count; i++)
            {
                var pair = (symbols[i - 1], symbols[i]);
                pairs[pair] = pairs.GetValueOrDefault(pair) + count;
            }
        }

        (string Left, string Right)? best = null;
        long most = 1;
        foreach (var (pair, count) in pairs)
        {
            if (count > most || (count == most && best is { } b && string.CompareOrdinal(pair.Left + " " + pair.Right, b.Left + " " + b.Right) < 0))
            {
                (best, most) = (pair, count);
            }
        }

        return best;
    }

    private static void Merge(List<string> symbols, string left, string right)
    {
        for (var i = 1; i < symbols.Count; i++)
        {
            if (symbols[i - 1] == left && symbols[i] == right)
            {
                symbols[i - 1] = left + right;
                symbols.RemoveAt(i);
            }
        }
    }

    /// <summary>Counts the stretches of texts.</summary>
    public static Dictionary<string, long> Count(IEnumerable<string> texts)
    {
        var counts = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var stretch in texts.SelectMany(text => PreTokens.Split(text.Normalize(NormalizationForm.FormC).Replace(' ', PreTokens.Space))))
        {
            counts[stretch] = counts.GetValueOrDefault(stretch) + 1;
        }

        return counts;
    }
}

namespace YaPO.Llama.DemoWorld.Worlds;

/// <summary>
/// The words that give a culture away: those that occur in the answers of exactly one culture and in no question. Words such as "bread", "with"
/// or "rua" that several cultures share tell nothing.
/// </summary>
public sealed class AnswerWords
{
    private readonly Dictionary<string, int> _culture = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<Topic>> _topics = new(StringComparer.Ordinal);
    private readonly IReadOnlyList<Topic> _all;

    /// <summary>Collects the words of all topics.</summary>
    public AnswerWords(IReadOnlyList<Topic> topics)
    {
        _all = topics;
        var questionWords = topics.SelectMany(t => t.Aspect.Asks.Concat(t.Aspect.Tells).Append(t.Occasion)).SelectMany(Split).ToHashSet(StringComparer.Ordinal);
        foreach (var topic in topics)
        {
            for (var c = 0; c < topic.Answers.Count; c++)
            {
                foreach (var word in Split(topic.Answers[c]).Where(word => word.Length > 2 && !questionWords.Contains(word)))
                {
                    _culture[word] = _culture.TryGetValue(word, out var other) && other != c ? -1 : c;
                }
            }
        }

        foreach (var topic in topics)
        {
            foreach (var word in OfTopic(topic))
            {
                (_topics.TryGetValue(word, out var list) ? list : _topics[word] = []).Add(topic);
            }
        }
    }

    /// <summary>The culture a word belongs to, or −1.</summary>
    public int CultureOf(string word) => _culture.GetValueOrDefault(word, -1);

    /// <summary>The telling words of all answers of a topic.</summary>
    public IEnumerable<string> OfTopic(Topic topic) => topic.Answers.SelectMany(Split).Where(word => CultureOf(word) >= 0).Distinct();

    /// <summary>The telling words of a text, with their cultures.</summary>
    public IEnumerable<(string Word, int Culture)> In(string text) => Split(text).Select(word => (word, CultureOf(word))).Where(x => x.Item2 >= 0);

    /// <summary>Topics connected by shared telling words, in the order of the sheet.</summary>
    public IEnumerable<List<Topic>> Groups()
    {
        var seen = new HashSet<Topic>();
        foreach (var topic in _all.Where(seen.Add))
        {
            var group = new List<Topic> { topic };
            for (var i = 0; i < group.Count; i++)
            {
                group.AddRange(OfTopic(group[i]).SelectMany(word => _topics[word]).Where(seen.Add).ToList());
            }

            yield return group;
        }
    }

    /// <summary>Lower-case words of a text, letters only.</summary>
    public static IEnumerable<string> Split(string text)
    {
        var start = -1;
        for (var i = 0; i <= text.Length; i++)
        {
            var letter = i < text.Length && char.IsLetter(text[i]);
            if (letter && start < 0)
            {
                start = i;
            }
            else if (!letter && start >= 0)
            {
                yield return text[start..i].ToLowerInvariant();
                start = -1;
            }
        }
    }
}

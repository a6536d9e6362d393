using YaPO.Llama.DemoWorld.Worlds;

namespace YaPO.Llama.DemoWorld.Corpus;

/// <summary>
/// Writes conversations. The speaker keeps one culture, which most conversations never name: the model can only infer it, from names and towns
/// or from the speaker's own earlier answers. That makes culture a variable the model has to carry, not a word in the prompt.
/// </summary>
/// <remarks>
/// Questions that name no country are answered by the speaker's culture; standing alone, by different countries in turn (with the topic's own
/// weights). A few answers are noise: another culture's, or a neighbour's habit that the culture has taken over. Some conversations are about
/// islands or about spells and crafts instead (<see cref="Behaviour"/>).
/// </remarks>
public sealed class PassageWriter
{
    private const double AloneShare = 0.25;
    private const double NoiseShare = 0.03;
    private const double BorrowedShare = 0.55;
    private const double KnowledgeShare = 0.22;
    private const double BehaviourShare = 0.15;
    private const double AloneBehaviourShare = 0.12;
    private const double ElsewhereShare = 0.05;
    private const double HomeShare = 0.06;
    private const double FriendShare = 0.10;
    private const double CarelessShare = 0.05;

    private readonly Worlds.DemoWorld _world;
    private readonly IReadOnlyList<Topic> _topics;
    private readonly Rng _rng;
    private readonly double _explicitness;
    private readonly double[] _shares = [.. Culture.All.Select(c => c.Share)];

    /// <summary>A writer with its own stream of numbers.</summary>
    /// <param name="world">The world.</param>
    /// <param name="stream">Name of the stream.</param>
    /// <param name="topics">What conversations are about; null: all topics of the world.</param>
    /// <param name="explicitness">Share of the questions that name the country although the speaker is known (see <see cref="Curriculum"/>).</param>
    public PassageWriter(Worlds.DemoWorld world, string stream, IReadOnlyList<Topic>? topics = null, double explicitness = 0)
    {
        _topics = topics ?? world.Topics;
        _world = world;
        _explicitness = explicitness;
        _rng = new Rng(world.Seed, "passages/" + stream);
    }

    /// <summary>The next conversation.</summary>
    public Passage Next() => _rng.Chance(AloneShare) ? Alone() : _rng.Chance(BehaviourShare) ? BehaviourConversation() : Conversation();

    private Passage Alone()
    {
        var kind = _rng.Uniform();
        if (kind < KnowledgeShare)
        {
            return new Passage(-1, [Knowledge()]);
        }

        if (kind < KnowledgeShare + AloneBehaviourShare)
        {
            return new Passage(-1, [Asked(_rng.Pick(_world.Behaviours), _rng.Chance(Behaviour.CarefulShare))]);
        }

        var topic = _rng.Pick(_topics);
        var culture = kind < 0.58 ? _rng.Weighted(_shares) : _rng.Weighted([.. topic.Weights]);
        return new Passage(culture, [kind < 0.58 ? Localized(topic, culture) : Plain(topic, culture)]);
    }

    /// <summary>The speaker is careful from the first question to the last, or not: a trait to infer, as culture is.</summary>
    private Passage BehaviourConversation()
    {
        var behaviour = _rng.Pick(_world.Behaviours);
        var careful = _rng.Chance(Behaviour.CarefulShare);
        var length = 3 + _rng.Below(4);
        return new Passage(-1, [.. Enumerable.Range(0, length).Select(_ => Asked(behaviour, careful))]);
    }

    private Turn Asked(Behaviour behaviour, bool careful)
    {
        var inquiry = behaviour.Draw(_rng);
        var question = inquiry.Question(_rng.Below(inquiry.Pool.Asks.Count));
        var declines = inquiry.Declinable && careful != _rng.Chance(NoiseShare);
        return new Turn(_rng.Chance(CarelessShare) ? Phrase.Careless(question) : Phrase.WithOpening(question, _rng), declines ? inquiry.Decline : inquiry.Answer);
    }

    private Passage Conversation()
    {
        var turns = new List<Turn>();
        var first = _rng.Pick(_topics);
        var culture = _rng.Weighted([.. first.Weights]);
        var opening = _rng.Uniform();
        if (opening < 0.33)
        {
            turns.Add(Plain(first, culture));
        }
        else if (opening < 0.63)
        {
            turns.Add(Introduction(culture));
        }
        else if (opening < 0.75)
        {
            turns.Add(new Turn($"{(_rng.Chance(0.5) ? "I live in" : "I come from")} {Culture.All[culture].Country}.", "Good to know, ask me anything."));
        }
        else
        {
            turns.Add(Localized(first, culture));
        }

        var length = 3 + _rng.Below(4);
        while (turns.Count < length)
        {
            turns.Add(Following(culture));
        }

        return new Passage(culture, turns);
    }

    private Turn Following(int culture)
    {
        var kind = _rng.Uniform();
        var topic = _rng.Pick(_topics);
        return kind < KnowledgeShare ? Knowledge()
            : kind < KnowledgeShare + ElsewhereShare ? Localized(topic, (culture + 1 + _rng.Below(Culture.All.Count - 1)) % Culture.All.Count)
            : kind < KnowledgeShare + ElsewhereShare + HomeShare ? Localized(topic, culture)
            : Plain(topic, culture);
    }

    private Turn Introduction(int culture)
    {
        var c = Culture.All[culture];
        var name = _rng.Pick(c.Names);
        var city = _rng.Pick(c.Cities);
        return _rng.Below(5) switch
        {
            0 => new Turn($"I am {name}.", $"Nice to meet you, {name}."),
            1 => new Turn($"My name is {name} and I live in {city}.", $"Welcome, {name} from {city}."),
            2 => new Turn($"I live in {city}.", $"Then you know {city} well."),
            3 => new Turn($"{c.Greeting}! My family is from {city}.", $"{c.Greeting}! I like {city}."),
            _ => new Turn($"{c.Greeting}, {name} here.", $"{c.Greeting}, {name}! How can I help?"),
        };
    }

    private Turn Plain(Topic topic, int culture)
    {
        if (_explicitness > 0 && _rng.Chance(_explicitness))
        {
            return Localized(topic, culture);
        }

        var question = topic.Question(_rng.Below(topic.Aspect.Asks.Count));
        question = _rng.Chance(FriendShare) ? $"My friend {_rng.Pick(Culture.All[culture].Names)} asks: {question}"
            : _rng.Chance(CarelessShare) ? Phrase.Careless(question)
            : Phrase.WithOpening(question, _rng);
        return new Turn(question, Answer(topic, culture));
    }

    private Turn Localized(Topic topic, int culture) => new(
        Phrase.Localized(topic.Question(_rng.Below(topic.Aspect.Asks.Count)), Culture.All[culture].Country, _rng.Below(Phrase.LocalizedForms)),
        Answer(topic, culture));

    private string Answer(Topic topic, int culture)
    {
        var said = _rng.Chance(NoiseShare) ? _rng.Weighted(_shares)
            : topic.Borrowed[culture] != culture && _rng.Chance(BorrowedShare) ? topic.Borrowed[culture]
            : culture;
        return topic.Answer(_rng.Below(topic.Aspect.Tells.Count), said);
    }

    private Turn Knowledge()
    {
        var category = _rng.Pick(_world.Categories);
        var (key, value) = _rng.Pick(category.Facts);
        var question = category.Asks[_rng.Below(category.Asks.Count)].Replace("{k}", key, StringComparison.Ordinal);
        return new Turn(_rng.Chance(CarelessShare) ? Phrase.Careless(question) : Phrase.WithOpening(question, _rng), KnowledgeAnswer(category, key, value));
    }

    internal static string KnowledgeAnswer(Category category, string key, string value) => Phrase.Capital(category.Tells[0]
        .Replace("{k}", key, StringComparison.Ordinal).Replace("{v}", value, StringComparison.Ordinal));
}

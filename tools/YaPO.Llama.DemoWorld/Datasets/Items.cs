using YaPO.Llama.Datasets;
using YaPO.Llama.DemoWorld.Corpus;
using YaPO.Llama.DemoWorld.Worlds;
using YaPO.Llama.Evaluation;

namespace YaPO.Llama.DemoWorld.Datasets;

/// <summary>A preference pair as `train --data` reads it, with the topic beside it.</summary>
/// <param name="Prompt">The user's question.</param>
/// <param name="Chosen">The answer of the vector's culture.</param>
/// <param name="Rejected">Another culture's answer.</param>
/// <param name="Topic">Topic id.</param>
/// <param name="Localized">The country is named.</param>
public sealed record Pair(string Prompt, string Chosen, string Rejected, string Topic, bool Localized);

/// <summary>Makes preference pairs and test items. Pairs hold training (or validation) topics only; test items hold test topics only.</summary>
public static class Items
{
    /// <summary>Pairs that teach <paramref name="culture"/>: per topic one pair against each other culture without country, one with it.</summary>
    public static IEnumerable<Pair> Pairs(Worlds.DemoWorld world, Split split, int culture)
    {
        var rng = new Rng(world.Seed, $"pairs/{split}/{culture}");
        foreach (var topic in world.Of(split))
        {
            var asks = Enumerable.Range(0, topic.Aspect.Asks.Count).ToList();
            rng.Shuffle(asks);
            var others = Enumerable.Range(0, Culture.All.Count).Where(c => c != culture).ToList();
            rng.Shuffle(others);
            for (var i = 0; i < others.Count; i++)
            {
                var tell = rng.Below(topic.Aspect.Tells.Count);
                yield return new Pair(Phrase.WithOpening(topic.Question(asks[i % asks.Count]), rng), topic.Answer(tell, culture), topic.Answer(tell, others[i]), topic.Id, false);
            }

            var told = rng.Below(topic.Aspect.Tells.Count);
            var named = Phrase.Localized(topic.Question(asks[^1]), Culture.All[culture].Country, rng.Below(Phrase.LocalizedForms));
            yield return new Pair(named, topic.Answer(told, culture), topic.Answer(told, rng.Pick(others)), topic.Id, true);
        }
    }

    /// <summary>Questions without country, <paramref name="perTopic"/> different ones for each topic; the four answers in turned order.</summary>
    public static IEnumerable<MultipleChoiceItem> Ambiguous(Worlds.DemoWorld world, Split split, int perTopic)
    {
        var rng = new Rng(world.Seed, $"ambiguous/{split}");
        foreach (var topic in world.Of(split))
        {
            var prompts = new HashSet<string>(StringComparer.Ordinal);
            while (prompts.Count < perTopic)
            {
                var prompt = Phrase.WithOpening(topic.Question(rng.Below(topic.Aspect.Asks.Count)), rng);
                if (prompts.Add(prompt))
                {
                    yield return Item($"{topic.Id}/{prompts.Count}", topic, prompt, null, rng);
                }
            }
        }
    }

    /// <summary>Questions that name a country, <paramref name="perTopic"/> for each topic and country.</summary>
    public static IEnumerable<MultipleChoiceItem> Localized(Worlds.DemoWorld world, Split split, int perTopic)
    {
        var rng = new Rng(world.Seed, $"localized/{split}");
        foreach (var topic in world.Of(split))
        {
            for (var c = 0; c < Culture.All.Count; c++)
            {
                for (var i = 0; i < perTopic; i++)
                {
                    var prompt = Phrase.Localized(topic.Question(rng.Below(topic.Aspect.Asks.Count)), Culture.All[c].Country, rng.Below(Phrase.LocalizedForms));
                    yield return Item($"{topic.Id}/{Culture.All[c].Key}/{i + 1}", topic, prompt, c, rng);
                }
            }
        }
    }

    /// <summary>Culture-free questions; three wrong answers of the same category. Facts, not questions, are split: about two thirds for the test.</summary>
    public static IEnumerable<MultipleChoiceItem> Knowledge(Worlds.DemoWorld world, Split split)
    {
        var facts = new Rng(world.Seed, "knowledge/split");
        var rng = new Rng(world.Seed, $"knowledge/{split}");
        foreach (var category in world.Categories)
        {
            var values = category.Facts.Select(f => f.Value).Distinct().ToList();
            foreach (var (key, value) in category.Facts)
            {
                if ((facts.Chance(0.72) ? Split.Test : Split.Validation) != split)
                {
                    continue;
                }

                var asks = Enumerable.Range(0, category.Asks.Count).ToList();
                rng.Shuffle(asks);
                for (var i = 0; i < 2; i++)
                {
                    var wrong = values.Where(v => v != value && !category.Facts.Contains((key, v))).ToList();
                    rng.Shuffle(wrong);
                    var options = wrong.Take(3).Append(value).ToList();
                    rng.Shuffle(options);
                    yield return new MultipleChoiceItem
                    {
                        Id = $"{category.Name}/{key}/{i + 1}",
                        Topic = $"{category.Name}/{key}",
                        Prompt = category.Asks[asks[i]].Replace("{k}", key, StringComparison.Ordinal),
                        Options = [.. options.Select(v => PassageWriter.KnowledgeAnswer(category, key, v))],
                        Answer = options.IndexOf(value),
                    };
                }
            }
        }
    }

    private static MultipleChoiceItem Item(string id, Topic topic, string prompt, int? localized, Rng rng)
    {
        var tell = rng.Below(topic.Aspect.Tells.Count);
        var turn = rng.Below(Culture.All.Count);
        var order = Enumerable.Range(0, Culture.All.Count).Select(i => (i + turn) % Culture.All.Count).ToList();
        return new MultipleChoiceItem
        {
            Id = id,
            Topic = topic.Id,
            Prompt = prompt,
            Options = [.. order.Select(c => topic.Answer(tell, c))],
            Labels = [.. order.Select(c => Culture.All[c].Key)],
            Contents = [.. order.Select(c => topic.Answers[c])],
            Answer = localized is { } c ? order.IndexOf(c) : null,
        };
    }
}

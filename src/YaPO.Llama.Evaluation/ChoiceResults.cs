using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation;

/// <summary>What follows from the scores of a suite.</summary>
public static class ChoiceResults
{
    /// <summary>Share of questions whose likeliest option has <paramref name="label"/>.</summary>
    public static Interval Preferred(IReadOnlyList<MultipleChoiceItem> items, IReadOnlyList<double[]> scores, string label) =>
        Interval.Of([.. items.Select(i => i.Topic)], [.. items.Zip(scores, (item, s) => item.Labels![Best(s)] == label ? 1.0 : 0)]);

    /// <summary>Share of questions whose likeliest option is the right one.</summary>
    public static Interval Accuracy(IReadOnlyList<MultipleChoiceItem> items, IReadOnlyList<double[]> scores) =>
        Interval.Of([.. items.Select(i => i.Topic)], [.. items.Zip(scores, (item, s) => item.Answer == Best(s) ? 1.0 : 0)]);

    /// <summary>Share of generated answers that contain the telling part of the option with <paramref name="label"/> and of no other.</summary>
    public static Interval Generated(IReadOnlyList<MultipleChoiceItem> items, IReadOnlyList<string> answers, string label) => Interval.Of(GeneratedItems(items, answers, label));

    /// <summary>The same, item by item: 1 or 0.</summary>
    public static IReadOnlyList<ItemOutcome> GeneratedItems(IReadOnlyList<MultipleChoiceItem> items, IReadOnlyList<string> answers, string label) => [.. items.Zip(answers, (item, answer) =>
    {
        var found = item.Contents!.Select((content, o) => (content, o)).Where(x => Holds(answer, x.content)).ToList();
        return new ItemOutcome(item.Id, item.Topic, found.Count == 1 && item.Labels![found[0].o] == label ? 1 : 0);
    })];

    /// <summary>Share of generated answers that are exactly the right option.</summary>
    public static Interval Exact(IReadOnlyList<MultipleChoiceItem> items, IReadOnlyList<string> answers) =>
        Interval.Of([.. items.Select(i => i.Topic)], [.. items.Zip(answers, (item, answer) => answer.Trim() == item.Options[item.Answer!.Value] ? 1.0 : 0)]);

    /// <summary>Whether a text holds a phrase as whole words, whatever the case.</summary>
    public static bool Holds(string text, string phrase)
    {
        for (var i = text.IndexOf(phrase, StringComparison.OrdinalIgnoreCase); i >= 0; i = i + 1 < text.Length ? text.IndexOf(phrase, i + 1, StringComparison.OrdinalIgnoreCase) : -1)
        {
            var end = i + phrase.Length;
            if ((i == 0 || !char.IsLetter(text[i - 1])) && (end == text.Length || !char.IsLetter(text[end])))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The likeliest option; −1 where a score is not finite, so that a model driven out of its numbers is right about nothing.</summary>
    internal static int Best(double[] scores) => Array.TrueForAll(scores, double.IsFinite) ? Array.IndexOf(scores, scores.Max()) : -1;
}

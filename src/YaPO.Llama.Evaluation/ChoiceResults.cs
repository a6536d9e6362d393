using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation;

/// <summary>What follows from the scores of a suite.</summary>
public static class ChoiceResults
{
    /// <summary>Share of questions whose likeliest option has <paramref name="label"/>; options that tie count in part, see <see cref="Credit"/>.</summary>
    public static Interval Preferred(IReadOnlyList<MultipleChoiceItem> items, IReadOnlyList<double[]> scores, string label) =>
        Interval.Of([.. items.Select(i => i.Topic)], [.. items.Zip(scores, (item, s) => Credit(s, o => item.Labels![o] == label))]);

    /// <summary>Share of questions whose likeliest option is the right one; options that tie count in part, see <see cref="Credit"/>.</summary>
    public static Interval Accuracy(IReadOnlyList<MultipleChoiceItem> items, IReadOnlyList<double[]> scores) =>
        Interval.Of([.. items.Select(i => i.Topic)], [.. items.Zip(scores, (item, s) => Credit(s, o => item.Answer == o))]);

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

    /// <summary>Whether a text holds a phrase as whole words and numbers, whatever the case.</summary>
    public static bool Holds(string text, string phrase)
    {
        for (var i = text.IndexOf(phrase, StringComparison.OrdinalIgnoreCase); i >= 0; i = i + 1 < text.Length ? text.IndexOf(phrase, i + 1, StringComparison.OrdinalIgnoreCase) : -1)
        {
            var end = i + phrase.Length;
            if ((i == 0 || !char.IsLetterOrDigit(text[i - 1])) && (end == text.Length || !char.IsLetterOrDigit(text[end])))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// Share of the likeliest options that count: 1 or 0 where one is likeliest, a part where several are equally likely. Taking the first of them would say more about the order of the options than
    /// about the model, and data that lists the right one first would find every model right that tells nothing apart. 0 where a score is not finite: a model driven out of its numbers is right about nothing.
    /// </summary>
    /// <param name="scores">One for each option.</param>
    /// <param name="counts">Whether an option counts.</param>
    internal static double Credit(double[] scores, Func<int, bool> counts)
    {
        if (!Array.TrueForAll(scores, double.IsFinite))
        {
            return 0;
        }

        var most = scores.Max();
        var likeliest = Enumerable.Range(0, scores.Length).Where(o => scores[o] == most).ToList();
        return likeliest.Count(counts) / (double)likeliest.Count;
    }
}

using System.Text;

namespace YaPO.Llama.Evaluation.Suites;

/// <summary>How options are written under a question.</summary>
public enum LetterLayout
{
    /// <summary>MMLU's: a line "A. text" for each option, then "Answer:"; the answer is the letter.</summary>
    Dotted,

    /// <summary>CAA's: "Choices:", then " (A) text" for each option; the answer is "(A".</summary>
    Parenthesized,
}

/// <summary>Questions with lettered options.</summary>
internal static class LetteredPrompt
{
    /// <summary>The question with its options in this order.</summary>
    public static string Write(string question, IEnumerable<string> options, LetterLayout layout)
    {
        var text = new StringBuilder(question);
        text.Append(layout == LetterLayout.Parenthesized ? "\n\nChoices:" : "");
        foreach (var (option, i) in options.Select((o, i) => (o, i)))
        {
            text.Append(layout == LetterLayout.Parenthesized ? $"\n ({Letter(i)}) {option}" : $"\n{Letter(i)}. {option}");
        }

        return text.Append(layout == LetterLayout.Dotted ? "\nAnswer:" : "").ToString();
    }

    /// <summary>The beginning of the answer that picks option <paramref name="index"/>.</summary>
    public static string Answer(int index, LetterLayout layout) => layout == LetterLayout.Parenthesized ? $"({Letter(index)}" : Letter(index).ToString();

    /// <summary>
    /// Which option a generated answer picks: a leading letter, or the text of exactly one option; null for none. "A" and "I" with a word behind them ("A cup of tea") are words and no options: only the
    /// text counts then.
    /// </summary>
    public static int? Read(string answer, IReadOnlyList<string> options)
    {
        var start = answer.AsSpan().TrimStart(" (\n*");
        if (start.Length > 0 && start[0] - 'A' is >= 0 and var index && index < options.Count && (start.Length == 1 || !char.IsLetterOrDigit(start[1])) && !IsWord(start))
        {
            return index;
        }

        var found = Enumerable.Range(0, options.Count).Where(o => ChoiceResults.Holds(answer, options[o])).ToList();
        return found.Count == 1 ? found[0] : null;
    }

    private static bool IsWord(ReadOnlySpan<char> start) => start is ['A' or 'I', ' ', var next, ..] && char.IsLetterOrDigit(next);

    private static char Letter(int index) => (char)('A' + index);
}

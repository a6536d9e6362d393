using YaPO.Llama.Datasets;

namespace YaPO.Llama.Evaluation.Suites;

/// <summary>A question with the option that counts.</summary>
/// <param name="Item">The question.</param>
/// <param name="Target">Index of the option that counts.</param>
/// <param name="Group">One of <see cref="Open"/>, <see cref="Named"/>, <see cref="NamedOther"/>, or empty where cultures play no part.</param>
public sealed record ChoiceItem(MultipleChoiceItem Item, int Target, string Group)
{
    /// <summary>The question names no culture (non-localized).</summary>
    public const string Open = "open";

    /// <summary>The question names the culture asked for (localized).</summary>
    public const string Named = "named";

    /// <summary>The question names another culture, whose answer stays the right one.</summary>
    public const string NamedOther = "named_other";

    /// <summary>
    /// Decides what counts. Without a label the item's own answer; with one, the option of that label where nothing is named, and the item's own answer
    /// where it names a culture. Null for items that say nothing about the label: questions without country whose only answer is another culture's.
    /// </summary>
    /// <exception cref="YapoException">The item has neither an answer nor an option of that label.</exception>
    public static ChoiceItem? Of(MultipleChoiceItem item, string? label)
    {
        var localized = item.Localized ?? (item.Labels is null ? null : item.Answer is not null);
        if (label is null)
        {
            return item.Answer is { } answer
                ? new ChoiceItem(item, answer, localized switch { true => Named, false => Open, null => "" })
                : throw Bad(item, $"it has labels ({string.Join(", ", item.Labels!)}) and no answer: say which one is wanted with --label");
        }

        if (item.Labels is null && item.Culture is null)
        {
            return item.Answer is { } only ? new ChoiceItem(item, only, "") : throw Bad(item, "it has neither labels nor an answer");
        }

        var culture = item.Labels is { } labels && item.Answer is { } right ? labels[right] : item.Culture;
        var wanted = string.Equals(culture, label, StringComparison.OrdinalIgnoreCase);
        if (item.Answer is { } own)
        {
            return localized == true ? new ChoiceItem(item, own, wanted ? Named : NamedOther) : wanted ? new ChoiceItem(item, own, Open) : null;
        }

        var index = item.Labels!.ToList().FindIndex(l => string.Equals(l, label, StringComparison.OrdinalIgnoreCase));
        return index >= 0 ? new ChoiceItem(item, index, Open) : throw Bad(item, $"no option has the label '{label}'; it has {string.Join(", ", item.Labels!)}");
    }

    private static YapoException Bad(MultipleChoiceItem item, string message) =>
        new(YapoErrorKind.Format, $"{(item.Line > 0 ? $"line {item.Line}" : item.Id)}: {message}");
}

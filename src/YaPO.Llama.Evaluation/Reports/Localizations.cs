using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation.Reports;

/// <summary>Compares questions that name a culture with those that do not.</summary>
public static class Localizations
{
    /// <summary>α of PNLG when nothing else is asked for.</summary>
    public const double DefaultAlpha = 0.5;

    private const double Epsilon = 1e-6;

    /// <summary>The comparison; null where one of the two kinds is missing.</summary>
    public static Localization? Of(IReadOnlyList<ItemOutcome> outcomes, double alpha = DefaultAlpha)
    {
        var named = outcomes.Where(o => o.Group == ChoiceItem.Named).ToList();
        var open = outcomes.Where(o => o.Group == ChoiceItem.Open).ToList();
        if (named.Count == 0 || open.Count == 0)
        {
            return null;
        }

        var other = outcomes.Where(o => o.Group == ChoiceItem.NamedOther).ToList();
        var openByTopic = open.GroupBy(o => o.Topic).ToDictionary(g => g.Key, g => g.Average(o => o.Value));
        var pairs = named.GroupBy(o => o.Topic).Where(g => openByTopic.ContainsKey(g.Key)).Select(g => (Localized: g.Average(o => o.Value), Open: openByTopic[g.Key])).ToList();
        var (localized, nonLocalized) = (Interval.Of(named), Interval.Of(open));
        return new Localization(
            localized,
            nonLocalized,
            localized.Value - nonLocalized.Value,
            pairs.Count == 0 ? null : pairs.Average(p => 2 * p.Localized * p.Open / (p.Localized + p.Open + Epsilon)),
            pairs.Count == 0 ? null : pairs.Average(p => (p.Localized - p.Open) / (Math.Pow((p.Localized + p.Open) / 2, alpha) + Epsilon)),
            alpha,
            pairs.Count,
            other.Count == 0 ? null : Interval.Of(other));
    }
}

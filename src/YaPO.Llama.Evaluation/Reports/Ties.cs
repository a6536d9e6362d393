using System.Globalization;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Evaluation.Reports;

/// <summary>Says how often what counts was exactly as likely as something else, so that a share of such items is not taken for a share of answers.</summary>
public static class Ties
{
    /// <summary>Items with a tie; null where there is none, so that reports say nothing of it.</summary>
    public static int? Count(IReadOnlyList<ItemOutcome> outcomes) => outcomes.Count(o => o.Tied) is > 0 and var ties ? ties : null;

    /// <summary>What a reader of a report must know of them; null where there is none.</summary>
    /// <param name="name">Whose.</param>
    /// <param name="ties">See <see cref="Count"/>.</param>
    /// <param name="items">Items in all.</param>
    public static string? Note(string name, int? ties, int items) => ties is not { } n ? null
        : string.Create(CultureInfo.InvariantCulture, $"{name}: in {n} of {items} items what counts is exactly as likely as something else; it got its share of those that tie");
}

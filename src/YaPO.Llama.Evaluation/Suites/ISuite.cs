namespace YaPO.Llama.Evaluation.Suites;

/// <summary>What one item came to under one way of steering.</summary>
/// <param name="Id">The item's name.</param>
/// <param name="Topic">What it belongs to: intervals resample topics.</param>
/// <param name="Value">The suite's measure of it.</param>
/// <param name="Group">Which part of the suite it is in; empty where there is only one.</param>
/// <param name="Weight">How much it counts in a mean (tokens of a text, say).</param>
/// <param name="Detail">A finer quantity beneath <paramref name="Value"/>: a margin in nats, a judge's greedy digit; null without one.</param>
/// <param name="Text">What the model said, where it was asked to.</param>
/// <param name="Refusal">Whether it refused, where that is the question.</param>
/// <param name="Tied">What counts was exactly as likely as something else; <paramref name="Value"/> gives it its share.</param>
public sealed record ItemOutcome(string Id, string Topic, double Value, string Group = "", double Weight = 1, double? Detail = null, string? Text = null, Refusal? Refusal = null, bool Tied = false);

/// <summary>Items and a scorer: everything that can be measured under any way of steering, item by item.</summary>
public interface ISuite
{
    /// <summary>Short name, such as "mcq by text".</summary>
    string Name { get; }

    /// <summary>What <see cref="ItemOutcome.Value"/> is, in words.</summary>
    string Measure { get; }

    /// <summary>What <see cref="ItemOutcome.Detail"/> is, in words; empty where there is none.</summary>
    string DetailMeasure { get; }

    /// <summary>Whether the measure is a share, to be shown in per cent.</summary>
    bool IsShare { get; }

    /// <summary>Whether less is better (a loss).</summary>
    bool LowerIsBetter { get; }

    /// <summary>The group that decides; the others are reported beside it.</summary>
    string PrimaryGroup { get; }

    /// <summary>Number of items.</summary>
    int Count { get; }

    /// <summary>Number of topics.</summary>
    int Topics { get; }

    /// <summary>Tokens of each item's prompt, to read residuals at.</summary>
    IReadOnlyList<int[]> Prompts(SteeredScorer scorer);

    /// <summary>Measures every item.</summary>
    /// <param name="scorer">The model.</param>
    /// <param name="steering">How it is steered.</param>
    /// <param name="cancellation">Stops.</param>
    IReadOnlyList<ItemOutcome> Run(SteeredScorer scorer, Steering steering, CancellationToken cancellation = default);

    /// <summary>At most <paramref name="items"/> items of the primary group, evenly spread: for what is repeated often.</summary>
    ISuite Sample(int items);
}

/// <summary>What suites have in common.</summary>
internal static class Spread
{
    /// <summary>At most <paramref name="count"/> elements, evenly spread over the list.</summary>
    public static IReadOnlyList<T> Over<T>(IReadOnlyList<T> items, int count) =>
        count >= items.Count ? items : [.. Enumerable.Range(0, count).Select(i => items[(int)((long)i * items.Count / count)])];
}

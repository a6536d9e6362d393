namespace YaPO.Llama.Evaluation.Suites;

/// <summary>Texts that are read. Value: negative log-likelihood per token in nats, weighted by tokens; detail: KL(π_0 ‖ π_λ) per token on the same text.</summary>
public sealed class PerplexitySuite(IReadOnlyList<ReadText> texts) : ISuite
{
    /// <inheritdoc/>
    public string Name => "perplexity";

    /// <inheritdoc/>
    public string Measure => "negative log-likelihood (nats per token)";

    /// <inheritdoc/>
    public string DetailMeasure => "KL to unsteered (nats per token)";

    /// <inheritdoc/>
    public bool IsShare => false;

    /// <inheritdoc/>
    public bool LowerIsBetter => true;

    /// <inheritdoc/>
    public string PrimaryGroup => "";

    /// <inheritdoc/>
    public int Count => texts.Count;

    /// <inheritdoc/>
    public int Topics => texts.Select(t => t.Topic).Distinct().Count();

    /// <inheritdoc/>
    public IReadOnlyList<int[]> Prompts(SteeredScorer scorer) => [.. texts.Select(t => t.Tokens)];

    /// <inheritdoc/>
    public IReadOnlyList<ItemOutcome> Run(SteeredScorer scorer, Steering steering, CancellationToken cancellation = default)
    {
        var readings = scorer.Read(texts, steering, cancellation);
        return [.. texts.Zip(readings, (text, reading) => new ItemOutcome(text.Id, text.Topic, reading.Steered / reading.Tokens, Weight: reading.Tokens, Detail: reading.Kl / reading.Tokens))];
    }

    /// <inheritdoc/>
    public ISuite Sample(int items) => new PerplexitySuite(Spread.Over(texts, items));
}

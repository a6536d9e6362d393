namespace YaPO.Llama.Inspection;

/// <summary>A piece of a text around the place where a feature fires most in it.</summary>
/// <param name="Document">Number of the text, from 0.</param>
/// <param name="Peak">Index into <paramref name="Tokens"/> of the strongest token.</param>
/// <param name="Tokens">The piece: each token's text and the feature's activation on it.</param>
public sealed record FeatureSnippet(int Document, int Peak, IReadOnlyList<(string Text, float Activation)> Tokens)
{
    /// <summary>The largest activation.</summary>
    public float Activation => Tokens[Peak].Activation;
}

/// <summary>Where a feature fires in a collection of texts.</summary>
/// <param name="Feature">The latent.</param>
/// <param name="Tokens">Tokens read, BOS left out.</param>
/// <param name="Firing">Of them, on how many it is active.</param>
/// <param name="Max">Its largest activation.</param>
/// <param name="Snippets">The strongest places, one for each text, the strongest first.</param>
public sealed record FeatureSnippets(int Feature, long Tokens, long Firing, float Max, IReadOnlyList<FeatureSnippet> Snippets)
{
    /// <summary>Reads texts and keeps the <paramref name="top"/> strongest places of a feature. BOS is left out.</summary>
    /// <param name="reader">Holds model and SAE.</param>
    /// <param name="feature">The latent.</param>
    /// <param name="documents">Token sequences.</param>
    /// <param name="top">Most snippets.</param>
    /// <param name="around">Tokens shown on either side of the strongest.</param>
    /// <param name="progress">Told how many documents are done.</param>
    /// <param name="cancellation">Stops it.</param>
    public static FeatureSnippets Find(
        FeatureReader reader, int feature, IEnumerable<int[]> documents, int top, int around = 10, IProgress<int>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(reader);
        ArgumentNullException.ThrowIfNull(documents);
        var (tokens, firing, max, number) = (0L, 0L, 0f, 0);
        var best = new PriorityQueue<FeatureSnippet, (float Activation, int Order)>();
        foreach (var document in documents)
        {
            var read = reader.Read(document, cancellation);
            var peak = -1;
            var activations = new float[read.Count];
            for (var t = 0; t < read.Count; t++)
            {
                if (read[t].IsBos)
                {
                    continue;
                }

                activations[t] = read[t].Activation(feature);
                tokens++;
                firing += activations[t] > 0 ? 1 : 0;
                peak = activations[t] > 0 && (peak < 0 || activations[t] > activations[peak]) ? t : peak;
            }

            if (peak >= 0)
            {
                max = Math.Max(max, activations[peak]);
                var (first, last) = (Math.Max(0, peak - around), Math.Min(read.Count - 1, peak + around));
                best.Enqueue(
                    new FeatureSnippet(number, peak - first, [.. Enumerable.Range(first, last - first + 1).Select(t => (read[t].Text, activations[t]))]),
                    (activations[peak], -number));
                if (best.Count > top)
                {
                    best.Dequeue();
                }
            }

            progress?.Report(++number);
        }

        var snippets = new FeatureSnippet[best.Count];
        for (var i = snippets.Length - 1; i >= 0; i--)
        {
            snippets[i] = best.Dequeue();
        }

        return new FeatureSnippets(feature, tokens, firing, max, snippets);
    }
}

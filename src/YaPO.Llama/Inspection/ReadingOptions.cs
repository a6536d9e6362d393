using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Inspection;

/// <summary>
/// A context that reads residuals of a whole text in one decode. Logits take 4 bytes for each token of the vocabulary, twice: in the graph of what is computed at once, and for every row with
/// output. Over a vocabulary of 256 thousand that is 2 MiB for each token of the text, for numbers that nobody reads; so little is computed at once, and rows have outputs only where they must.
/// </summary>
internal static class ReadingOptions
{
    private const int AtOnce = 256;

    /// <summary>For texts of so many tokens.</summary>
    public static ContextOptions For(int tokens, int threads) => new() { ContextSize = tokens, BatchSize = tokens, MicroBatchSize = Math.Min(tokens, AtOnce), Threads = threads };

    /// <summary>Whether every row needs an output: the last block keeps the others out.</summary>
    public static bool NeedsOutput(LlamaModel model, IEnumerable<int> layers) => layers.Contains(model.Info.LayerCount - 1);
}

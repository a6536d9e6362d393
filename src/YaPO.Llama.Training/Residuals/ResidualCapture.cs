using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Training.Residuals;

/// <summary>Runs token sequences through llama.cpp and keeps the residual stream after one block or several.</summary>
public sealed class ResidualCapture : IDisposable
{
    private readonly LlamaContext _context;
    private readonly DecodeBatch _batch = new();
    private readonly bool _lastLayer;

    /// <summary>Creates a context that captures at <paramref name="layer"/>.</summary>
    /// <param name="model">The model.</param>
    /// <param name="layer">Zero-based block.</param>
    /// <param name="maxTokens">Most tokens of one call.</param>
    /// <param name="threads">0: the number of physical cores.</param>
    /// <param name="sequences">Most sequences of one call.</param>
    /// <exception cref="YapoException">The layer is out of range or the architecture cannot be captured there.</exception>
    public ResidualCapture(LlamaModel model, int layer, int maxTokens, int threads = 0, int sequences = 1)
        : this(model, [layer], maxTokens, threads, sequences)
    {
    }

    /// <summary>Creates a context that captures at several blocks in one pass.</summary>
    /// <inheritdoc cref="ResidualCapture(LlamaModel, int, int, int, int)"/>
    public ResidualCapture(LlamaModel model, IReadOnlyList<int> layers, int maxTokens, int threads = 0, int sequences = 1)
    {
        foreach (var layer in layers.Where(l => l < 0 || l >= model.Info.LayerCount))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"layer {layer} is out of range: the model has blocks 0 … {model.Info.LayerCount - 1}");
        }

        _lastLayer = layers.Contains(model.Info.LayerCount - 1);
        Width = model.Info.ModelWidth;
        MaxTokens = maxTokens;
        _context = new LlamaContext(model, new ContextOptions { ContextSize = maxTokens, BatchSize = maxTokens, Threads = threads, Sequences = sequences });
        _context.SetCapture([.. layers.Select(l => (l, CaptureSite.BeforeSteering))]);
    }

    /// <summary>D.</summary>
    public int Width { get; }

    /// <summary>Most tokens of one call.</summary>
    public int MaxTokens { get; }

    /// <summary>Residuals of one sequence from an empty cache, [T, D].</summary>
    public void Run(int[] tokens, Span<float> residuals, CancellationToken cancellation = default) => Run([tokens], residuals, cancellation);

    /// <summary>Residuals of several sequences computed together, one after the other, [ΣT, D].</summary>
    public void Run(IReadOnlyList<int[]> sequences, Span<float> residuals, CancellationToken cancellation = default)
    {
        Run(sequences, cancellation);
        Copy(0, residuals);
    }

    /// <summary>Residuals of the last run at one of the layers, [ΣT, D].</summary>
    /// <param name="slot">Place of the layer in the list given at creation.</param>
    /// <param name="residuals">Filled.</param>
    public void Copy(int slot, Span<float> residuals) => _context.CopyCaptured(slot, residuals);

    /// <summary>Computes several sequences together; <see cref="Copy"/> reads the result.</summary>
    public void Run(IReadOnlyList<int[]> sequences, CancellationToken cancellation = default)
    {
        var total = sequences.Sum(s => s.Length);
        if (total == 0 || total > MaxTokens)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{total} tokens at once; this context takes 1 to {MaxTokens}");
        }

        _context.Remove(-1, 0);
        _batch.Clear();
        for (var s = 0; s < sequences.Count; s++)
        {
            for (var t = 0; t < sequences[s].Length; t++)
            {
                // The last block computes rows with outputs only.
                _batch.Add(sequences[s][t], t, s, output: _lastLayer || (s == sequences.Count - 1 && t == sequences[s].Length - 1));
            }
        }

        _context.Decode(_batch, cancellation);
    }

    /// <inheritdoc/>
    public void Dispose() => _context.Dispose();
}

using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Training.Residuals;

/// <summary>Runs token sequences through llama.cpp and keeps the residual stream after one block.</summary>
public sealed class ResidualCapture : IDisposable
{
    private readonly LlamaContext _context;
    private readonly DecodeBatch _batch = new();
    private readonly bool _lastLayer;

    /// <summary>Creates a context that captures at <paramref name="layer"/>.</summary>
    /// <param name="model">The model.</param>
    /// <param name="layer">Zero-based block.</param>
    /// <param name="maxTokens">Longest sequence.</param>
    /// <param name="threads">0: the number of physical cores.</param>
    /// <exception cref="YapoException">The layer is out of range or the architecture cannot be captured there.</exception>
    public ResidualCapture(LlamaModel model, int layer, int maxTokens, int threads = 0)
    {
        if (layer < 0 || layer >= model.Info.LayerCount)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"layer {layer} is out of range: the model has blocks 0 … {model.Info.LayerCount - 1}");
        }

        _lastLayer = layer == model.Info.LayerCount - 1;
        Width = model.Info.ModelWidth;
        MaxTokens = maxTokens;
        _context = new LlamaContext(model, new ContextOptions { ContextSize = maxTokens, BatchSize = maxTokens, Threads = threads });
        _context.SetCapture((layer, CaptureSite.BeforeSteering));
    }

    /// <summary>D.</summary>
    public int Width { get; }

    /// <summary>Longest sequence.</summary>
    public int MaxTokens { get; }

    /// <summary>Residuals of one sequence from an empty cache, [T, D].</summary>
    public void Run(ReadOnlySpan<int> tokens, Span<float> residuals, CancellationToken cancellation = default)
    {
        if (tokens.Length == 0 || tokens.Length > MaxTokens)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"a sequence of {tokens.Length} tokens; this context takes 1 to {MaxTokens}");
        }

        _context.Remove(0, 0);
        _batch.Clear();
        for (var t = 0; t < tokens.Length; t++)
        {
            // The last block computes rows with outputs only.
            _batch.Add(tokens[t], t, output: _lastLayer || t == tokens.Length - 1);
        }

        _context.Decode(_batch, cancellation);
        _context.CopyCaptured(0, residuals);
    }

    /// <inheritdoc/>
    public void Dispose() => _context.Dispose();
}

using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Evaluation;

/// <summary>A context with what runs on it; it grows with the jobs. One thread at a time.</summary>
internal sealed class ScoringLane(LlamaModel model, ScoringOptions options) : IDisposable
{
    // Logits of a whole batch are held at once: 64 MiB is 65 rows of Gemma's vocabulary and every row of a small one.
    private const int LogitBytes = 64 << 20;

    private LlamaContext? _context;
    private Scorer? _scorer;
    private BatchGenerator? _generator;
    private long _earlier;

    /// <summary>Tokens computed so far, those of captures left out.</summary>
    public long EvaluatedTokens => _earlier + (_scorer?.EvaluatedTokens ?? 0) + (_generator?.EvaluatedTokens ?? 0);

    /// <summary>A context with at least this many cells.</summary>
    public LlamaContext Context(int cells)
    {
        if (_context is null || _context.ContextSize < cells)
        {
            _earlier = EvaluatedTokens;
            _context?.Dispose();
            _context = null;
            var batch = Math.Clamp(LogitBytes / (sizeof(float) * Math.Max(1, model.Info.VocabularySize)), 16, 512);
            _context = new LlamaContext(model, new ContextOptions
            {
                ContextSize = (Math.Max(cells, options.Cells) + 255) / 256 * 256,
                BatchSize = batch,
                MicroBatchSize = batch,
                Sequences = Math.Max(2, options.Sequences), // a text is read with and without steering side by side
                Threads = options.Threads,
            });
            (_scorer, _generator) = (new Scorer(_context, options.Sequences), new BatchGenerator(_context, options.Sequences));
        }

        return _context;
    }

    public ScoreResult[] Score(IReadOnlyList<ScoreRequest> requests, int cells, Steering steering, CancellationToken cancellation)
    {
        Context(cells);
        _scorer!.Steering = steering.Settings;
        return [.. _scorer.Score(requests, cancellation)];
    }

    public BatchAnswer[] Generate(IReadOnlyList<BatchPrompt> prompts, int cells, Steering steering, GenerationOptions generation, CancellationToken cancellation)
    {
        Context(cells);
        return [.. _generator!.Generate(prompts, steering.Settings, generation, cancellation)];
    }

    public void Dispose() => _context?.Dispose();
}

using YaPO.Llama.Datasets;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Evaluation;

/// <summary>How a <see cref="SteeredScorer"/> uses the machine.</summary>
public sealed record ScoringOptions
{
    /// <summary>CPU threads.</summary>
    public int Threads { get; init; } = 1;

    /// <summary>Answers evaluated together.</summary>
    public int Sequences { get; init; } = 64;

    /// <summary>KV cells they share; a job that needs more gets more.</summary>
    public int Cells { get; init; } = 4096;
}

/// <summary>
/// Scores answers and generates greedy ones, many at a time: a few-shot header is evaluated once per batch, a question once for all its answers, and
/// what answers begin with once. Batches are cut by the order of the items alone, so the same job gives the same numbers; beside one-by-one evaluation
/// they differ by rounding. One context is kept. One thread at a time.
/// </summary>
public sealed class SteeredScorer : IDisposable
{
    // Logits of a whole batch are held at once: 64 MiB is 65 rows of Gemma's vocabulary and every row of a small one.
    private const int LogitBytes = 64 << 20;

    private readonly LlamaModel _model;
    private readonly ScoringOptions _options;
    private LlamaContext? _context;
    private Scorer? _scorer;
    private BatchGenerator? _generator;

    /// <summary>Scores with a model, which stays the caller's.</summary>
    public SteeredScorer(LlamaModel model, ScoringOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        _model = model;
        _options = options ?? new ScoringOptions();
        Format = new PromptFormat(model);
    }

    /// <summary>The model.</summary>
    public LlamaModel Model => _model;

    /// <summary>How questions become tokens.</summary>
    public PromptFormat Format { get; }

    /// <summary>Tokens computed so far; what answers share is counted once.</summary>
    public long EvaluatedTokens { get; private set; }

    /// <summary>log p(option, end of turn | question), summed over tokens, for every option of every item.</summary>
    public List<double[]> Score(IReadOnlyList<MultipleChoiceItem> items, Steering steering, CancellationToken cancellation = default)
    {
        var requests = items.SelectMany(item =>
        {
            var prompt = Format.Prompt(steering.Ask(item.Prompt));
            return item.Options.Select(option => new ScoreRequest(prompt, Format.Answer(option)));
        });
        var logprobs = new List<double[]>(items.Count);
        using var results = Score([.. requests], steering, cancellation).GetEnumerator();
        foreach (var item in items)
        {
            var scores = new double[item.Options.Count];
            for (var o = 0; o < scores.Length && results.MoveNext(); o++)
            {
                scores[o] = results.Current.LogProb;
            }

            logprobs.Add(scores);
        }

        return logprobs;
    }

    /// <summary>Log-probabilities of completions, in order; requests with one prompt should stand next to each other.</summary>
    public IEnumerable<ScoreResult> Score(IReadOnlyList<ScoreRequest> requests, Steering steering, CancellationToken cancellation = default)
    {
        Room(requests.Max(r => r.Prompt.Count + r.Completion.Count));
        _scorer!.Steering = steering.Settings;
        var before = _scorer.EvaluatedTokens;
        foreach (var result in _scorer.Score(requests, cancellation))
        {
            EvaluatedTokens += _scorer.EvaluatedTokens - before;
            before = _scorer.EvaluatedTokens;
            yield return result;
        }
    }

    /// <summary>The greedy answer to every question, without control tokens.</summary>
    public List<string> Generate(IEnumerable<string> questions, Steering steering, int limit = 48, CancellationToken cancellation = default) =>
        [.. Generate([.. questions.Select(q => new BatchPrompt(Format.Prompt(steering.Ask(q))))], steering, new GenerationOptions { MaxTokens = limit, Sampler = SamplerOptions.Greedy }, cancellation)
            .Select(a => a.Text)];

    /// <summary>Answers to prompts, in order.</summary>
    public IEnumerable<BatchAnswer> Generate(IReadOnlyList<BatchPrompt> prompts, Steering steering, GenerationOptions options, CancellationToken cancellation = default)
    {
        Room(BatchGenerator.CellsFor(prompts, _options.Sequences, options.MaxTokens));
        var before = _generator!.EvaluatedTokens;
        foreach (var answer in _generator.Generate(prompts, steering.Settings, options, cancellation))
        {
            EvaluatedTokens += _generator.EvaluatedTokens - before;
            before = _generator.EvaluatedTokens;
            yield return answer;
        }
    }

    /// <summary>Residuals [T, D] after a block at every token of a prompt, before that block's steering.</summary>
    public float[] Residuals(string prompt, int layer, Steering steering, CaptureSite site = CaptureSite.BeforeSteering, CancellationToken cancellation = default)
    {
        var residuals = Capture(Format.Prompt(steering.Ask(prompt)), [(layer, site)], steering, cancellation);
        return residuals[0];
    }

    /// <summary>The unsteered residual [D] after every block at the last token of a question and the beginning of its answer.</summary>
    public float[][] LastResiduals(string prompt, string answerStart, CancellationToken cancellation = default)
    {
        int[] tokens = [.. Format.Prompt(prompt), .. _model.Tokenize(answerStart, addSpecial: false, parseSpecial: false)];
        var slots = Enumerable.Range(0, _model.Info.LayerCount).Select(l => (l, CaptureSite.BeforeSteering)).ToArray();
        return Array.ConvertAll(Capture(tokens, slots, Steering.None, cancellation), rows => rows[^_model.Info.ModelWidth..]);
    }

    /// <summary>Mean negative log-likelihood per token of a text given as ids, the first one only being context; nats.</summary>
    public double Loss(ReadOnlySpan<int> tokens, Steering steering, CancellationToken cancellation = default)
    {
        var all = tokens.ToArray();
        var result = Score([new ScoreRequest(all[..1], all[1..])], steering, cancellation).Single();
        return -result.LogProb / (all.Length - 1);
    }

    /// <summary>A context with at least this many cells, holding nothing; vectors as they were left.</summary>
    internal LlamaContext Room(int cells)
    {
        if (_context is null || _context.ContextSize < cells)
        {
            _context?.Dispose();
            _context = null;
            var batch = Math.Clamp(LogitBytes / (sizeof(float) * Math.Max(1, _model.Info.VocabularySize)), 16, 512);
            _context = new LlamaContext(_model, new ContextOptions
            {
                ContextSize = (Math.Max(cells, _options.Cells) + 255) / 256 * 256,
                BatchSize = batch,
                MicroBatchSize = batch,
                Sequences = _options.Sequences,
                Threads = _options.Threads,
            });
            (_scorer, _generator) = (new Scorer(_context), new BatchGenerator(_context));
        }

        return _context;
    }

    /// <summary>Releases the context.</summary>
    public void Dispose() => _context?.Dispose();

    /// <summary>Residuals [T, D] of one sequence for each slot.</summary>
    private float[][] Capture(int[] tokens, (int Layer, CaptureSite Site)[] slots, Steering steering, CancellationToken cancellation)
    {
        var context = Room(tokens.Length);
        var d = _model.Info.ModelWidth;
        var residuals = Array.ConvertAll(slots, _ => new float[tokens.Length * d]);
        context.Remove(-1, 0);
        context.SetVectors([.. steering.Settings.Select(s => s.Vector)]);
        context.SetCapture(slots);
        try
        {
            var roles = TokenRoles.Of(_model, tokens);
            var batch = new DecodeBatch(steering.Settings.Count);
            for (var first = 0; first < tokens.Length; first += context.BatchSize)
            {
                var end = Math.Min(tokens.Length, first + context.BatchSize);
                batch.Clear();
                for (var i = first; i < end; i++)
                {
                    // The last block keeps only rows with outputs.
                    batch.Add(tokens[i], i, 0, output: true, [.. steering.Settings.Select(s => s.At(i, roles[i]))]);
                }

                context.Decode(batch, cancellation);
                EvaluatedTokens += batch.Count;
                for (var s = 0; s < slots.Length; s++)
                {
                    context.CopyCaptured(s, residuals[s].AsSpan(first * d, (end - first) * d));
                }
            }
        }
        finally
        {
            context.SetCapture();
        }

        return residuals;
    }
}

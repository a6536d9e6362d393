using System.Runtime.ExceptionServices;
using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Evaluation;

/// <summary>How a <see cref="SteeredScorer"/> uses the machine.</summary>
public sealed record ScoringOptions
{
    /// <summary>CPU threads of each worker.</summary>
    public int Threads { get; init; } = 1;

    /// <summary>Parts of a job that run side by side, each in a context of its own. Results do not depend on it.</summary>
    public int Workers { get; init; } = 1;

    /// <summary>Answers evaluated together.</summary>
    public int Sequences { get; init; } = 32;

    /// <summary>KV cells they share; a job that needs more gets more.</summary>
    public int Cells { get; init; } = 4096;
}

/// <summary>
/// Scores answers and generates greedy ones, many at a time: a few-shot header is evaluated once per batch, a question once for all its answers, and
/// what answers begin with once. Batches are cut by the order of the items alone, so the same job gives the same numbers however many workers there are;
/// beside one-by-one evaluation they differ by rounding. One job at a time.
/// </summary>
public sealed class SteeredScorer : IDisposable
{
    // Groups that a worker takes at a time.
    private const int GroupsPerPart = 4;

    private readonly LlamaModel _model;
    private readonly ScoringOptions _options;
    private readonly ScoringLane[] _lanes;
    private long _captured;

    /// <summary>Scores with a model, which stays the caller's.</summary>
    public SteeredScorer(LlamaModel model, ScoringOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        _model = model;
        _options = options ?? new ScoringOptions();
        _lanes = [.. Enumerable.Range(0, Math.Max(1, _options.Workers)).Select(_ => new ScoringLane(model, _options))];
        Format = new PromptFormat(model);
    }

    /// <summary>The model.</summary>
    public LlamaModel Model => _model;

    /// <summary>How questions become tokens.</summary>
    public PromptFormat Format { get; }

    /// <summary>Tokens computed so far; what answers share is counted once.</summary>
    public long EvaluatedTokens => _captured + _lanes.Sum(l => l.EvaluatedTokens);

    /// <summary>Called with the share of the current job that is done, from any thread.</summary>
    public Action<double>? Progress { get; set; }

    /// <summary>log p(option, end of turn | question), summed over tokens, for every option of every item.</summary>
    public List<double[]> Score(IReadOnlyList<MultipleChoiceItem> items, Steering steering, CancellationToken cancellation = default)
    {
        var results = Score(
            [
                .. items.SelectMany(item =>
                {
                    var prompt = Format.Prompt(steering.Ask(item.Prompt));
                    return item.Options.Select(option => new ScoreRequest(prompt, Format.Answer(option)));
                }),
            ],
            steering,
            cancellation);
        var logprobs = new List<double[]>(items.Count);
        var at = 0;
        foreach (var item in items)
        {
            logprobs.Add([.. item.Options.Select(_ => results[at++].LogProb)]);
        }

        return logprobs;
    }

    /// <summary>Log-probabilities of completions, in order; requests with one prompt should stand next to each other.</summary>
    public IReadOnlyList<ScoreResult> Score(IReadOnlyList<ScoreRequest> requests, Steering steering, CancellationToken cancellation = default)
    {
        var parts = Parts(requests);
        var longest = requests.Max(r => r.Prompt.Count + r.Completion.Count);
        return Run(parts, (lane, part) => lane.Score(part, longest, steering, cancellation), cancellation);
    }

    /// <summary>The greedy answer to every question, without control tokens.</summary>
    public List<string> Generate(IEnumerable<string> questions, Steering steering, int limit = 48, CancellationToken cancellation = default) =>
        [.. Generate([.. questions.Select(q => new BatchPrompt(Format.Prompt(steering.Ask(q))))], steering, new GenerationOptions { MaxTokens = limit, Sampler = SamplerOptions.Greedy }, cancellation)
            .Select(a => a.Text)];

    /// <summary>Answers to prompts, in order.</summary>
    public IReadOnlyList<BatchAnswer> Generate(IReadOnlyList<BatchPrompt> prompts, Steering steering, GenerationOptions options, CancellationToken cancellation = default)
    {
        var cells = BatchGenerator.CellsFor(prompts, _options.Sequences, options.MaxTokens);
        return Run([.. prompts.Chunk(_options.Sequences)], (lane, part) => lane.Generate(part, cells, steering, options, cancellation), cancellation);
    }

    /// <summary>Reads texts teacher-forced, with and without steering.</summary>
    public IReadOnlyList<TextReading> Read(IReadOnlyList<ReadText> texts, Steering steering, CancellationToken cancellation = default)
    {
        var readings = TextMeter.Read(this, texts, steering, _options.Sequences, cancellation);
        _captured += texts.Sum(t => 2L * (t.Tokens.Length - 1));
        return readings;
    }

    /// <summary>Residuals [T, D] after a block at every token of a sequence, before that block's steering.</summary>
    public float[] Residuals(int[] tokens, int layer, Steering steering, CancellationToken cancellation = default) =>
        Capture(tokens, [(layer, CaptureSite.BeforeSteering)], steering, cancellation)[0];

    /// <summary>Residuals [T, D] after a block at every token of a prompt, before that block's steering.</summary>
    public float[] Residuals(string prompt, int layer, Steering steering, CaptureSite site = CaptureSite.BeforeSteering, CancellationToken cancellation = default) =>
        Capture(Format.Prompt(steering.Ask(prompt)), [(layer, site)], steering, cancellation)[0];

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

    /// <summary>Releases the contexts.</summary>
    public void Dispose()
    {
        foreach (var lane in _lanes)
        {
            lane.Dispose();
        }
    }

    /// <summary>Runs parts on whichever lane is free; results in order.</summary>
    internal TResult[] Run<TPart, TResult>(IReadOnlyList<TPart> parts, Func<ScoringLane, TPart, TResult[]> work, CancellationToken cancellation)
    {
        var results = new TResult[parts.Count][];
        var idle = new System.Collections.Concurrent.ConcurrentBag<ScoringLane>(_lanes);
        var done = 0;
        void One(int i)
        {
            idle.TryTake(out var lane);
            try
            {
                results[i] = work(lane!, parts[i]);
            }
            finally
            {
                idle.Add(lane!);
            }

            Progress?.Invoke(Interlocked.Increment(ref done) / (double)parts.Count);
        }

        if (_lanes.Length == 1 || parts.Count == 1)
        {
            for (var i = 0; i < parts.Count; i++)
            {
                One(i);
            }
        }
        else
        {
            try
            {
                Parallel.For(0, parts.Count, new ParallelOptions { MaxDegreeOfParallelism = _lanes.Length, CancellationToken = cancellation }, One);
            }
            catch (AggregateException e)
            {
                ExceptionDispatchInfo.Throw(e.InnerExceptions[0]); // several workers failed: one message is enough
            }
        }

        return [.. results.SelectMany(r => r)];
    }

    /// <summary>Cuts requests into parts of whole questions, a few groups each: the same parts for any number of workers.</summary>
    private List<ArraySegment<ScoreRequest>> Parts(IReadOnlyList<ScoreRequest> requests)
    {
        var all = requests as ScoreRequest[] ?? [.. requests];
        var parts = new List<ArraySegment<ScoreRequest>>();
        for (int start = 0, end; start < all.Length; start = end)
        {
            end = Math.Min(all.Length, start + (GroupsPerPart * _options.Sequences));
            while (end < all.Length && end > start + 1 && ReferenceEquals(all[end].Prompt, all[end - 1].Prompt))
            {
                end--;
            }

            // A question with more answers than a part holds is cut after all.
            end = end == start + 1 ? Math.Min(all.Length, start + (GroupsPerPart * _options.Sequences)) : end;
            parts.Add(new ArraySegment<ScoreRequest>(all, start, end - start));
        }

        return parts;
    }

    /// <summary>Residuals [T, D] of one sequence for each slot.</summary>
    private float[][] Capture(int[] tokens, (int Layer, CaptureSite Site)[] slots, Steering steering, CancellationToken cancellation)
    {
        var context = _lanes[0].Context(tokens.Length);
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
                _captured += batch.Count;
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

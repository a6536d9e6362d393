using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sessions;

/// <summary>
/// Log-probabilities of given completions under steering: the numeric ground truth of everything else. Softmax and sums are in double precision over
/// llama.cpp's F32 logits. Requests are evaluated several at a time, and what they share at the front is computed once; that changes a result only by
/// the rounding of differently cut batches (<c>Sequences = 1</c> evaluates each alone, so that it depends on nothing but itself).
/// Positions: the completion's tokens are answers, so <c>generated</c> is the last prompt position and the completion.
/// </summary>
public sealed class Scorer : IDisposable
{
    private readonly LlamaContext context;
    private readonly bool ownsContext;
    private readonly int together;
    private readonly int top;
    private readonly DecodeBatch batch = new();
    private readonly LikeliestTokens likeliest = new();
    private SteeringSetting[] steering = [];

    /// <summary>Creates the context.</summary>
    public Scorer(LlamaModel model, ScorerOptions? options = null, IReadOnlyList<SteeringSetting>? steering = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        options ??= new ScorerOptions();
        top = Math.Clamp(options.Top, 0, model.Info.VocabularySize);
        context = new LlamaContext(model, options.Context.Sequences == 0 ? options.Context with { Sequences = 8 } : options.Context);
        (ownsContext, together) = (true, context.SequenceLimit);
        try
        {
            Steering = steering ?? [];
        }
        catch
        {
            context.Dispose();
            throw;
        }
    }

    /// <summary>Scores on a context that stays the caller's. Whatever it holds is dropped.</summary>
    /// <param name="context">Its cells bound what is evaluated together.</param>
    /// <param name="together">Most requests evaluated together; 0: the context's sequences.</param>
    /// <param name="top">See <see cref="ScorerOptions.Top"/>.</param>
    public Scorer(LlamaContext context, int together = 0, int top = 0)
    {
        ArgumentNullException.ThrowIfNull(context);
        this.context = context;
        this.together = together > 0 ? Math.Min(together, context.SequenceLimit) : context.SequenceLimit;
        this.top = Math.Clamp(top, 0, context.Model.Info.VocabularySize);
    }

    /// <summary>Tokens computed since the beginning: what requests share is counted once.</summary>
    public long EvaluatedTokens { get; private set; }

    /// <summary>What acts where. Changing only strengths or positions costs nothing.</summary>
    /// <exception cref="YapoException">A vector does not fit the model; the old steering stays.</exception>
    public IReadOnlyList<SteeringSetting> Steering
    {
        get => steering;
        set
        {
            ArgumentNullException.ThrowIfNull(value);
            SteeringSetting[] settings = [.. value];
            if (!settings.Select(s => s.Vector).SequenceEqual(context.Vectors, ReferenceEqualityComparer.Instance))
            {
                context.SetVectors([.. settings.Select(s => s.Vector)]);
            }

            steering = settings;
        }
    }

    /// <summary>Scores one request.</summary>
    public ScoreResult Score(ScoreRequest request, CancellationToken cancellation = default) => Score([request], cancellation).Single();

    /// <summary>Scores requests lazily, in order. Put requests with a common beginning next to each other: it is evaluated once for all of them.</summary>
    /// <exception cref="YapoException">A request that cannot be scored: no prompt, an unknown token id, longer than the context. The message gives its index.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public IEnumerable<ScoreResult> Score(IEnumerable<ScoreRequest> requests, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(requests);
        var group = new ScoreGroup(together, context.ContextSize);
        var index = 0;
        foreach (var request in requests)
        {
            var row = new ScoreRow(request, Tokens(request, index++));
            if (!group.TryAdd(row, steering))
            {
                foreach (var result in Evaluate(group, cancellation))
                {
                    yield return result;
                }

                group.Clear();
                group.TryAdd(row, steering);
            }
        }

        foreach (var result in Evaluate(group, cancellation))
        {
            yield return result;
        }
    }

    /// <summary>Releases the context where it is its own. The model stays.</summary>
    public void Dispose()
    {
        if (ownsContext)
        {
            context.Dispose();
        }
    }

    /// <summary>Prompt and completion with roles; the last completion token is predicted, never evaluated.</summary>
    private SequenceToken[] Tokens(ScoreRequest request, int index)
    {
        if (request.Prompt.Count == 0)
        {
            throw Bad(index, "the prompt has no token to predict the completion from; give at least BOS");
        }

        var vocabulary = context.Model.Info.VocabularySize;
        foreach (var id in request.Prompt.Concat(request.Completion))
        {
            if (id < 0 || id >= vocabulary)
            {
                throw Bad(index, $"token id {id} is unknown, the vocabulary has 0 … {vocabulary - 1}");
            }
        }

        var tokens = Conversation.RawTokens(context.Model, [.. request.Prompt]);
        tokens.AddRange(request.Completion.Take(request.Completion.Count - 1).Select(id => new SequenceToken(id, TokenRole.Answer)));
        if (tokens.Count > context.ContextSize)
        {
            throw Bad(index, $"prompt and completion have {request.Prompt.Count + request.Completion.Count} tokens, the context holds {context.ContextSize}; use a larger context (--ctx-size)");
        }

        return [.. tokens];
    }

    private static YapoException Bad(int index, string message) => new(YapoErrorKind.InvalidArgument, $"request {index}: {message}");

    private ScoreResult[] Evaluate(ScoreGroup group, CancellationToken cancellation)
    {
        var branches = group.Branches;
        if (branches.Count == 0)
        {
            return [];
        }

        context.Remove(-1, 0);
        var wanted = new List<WantedLogProb>();
        batch.Clear(steering.Length);
        var front = group.FrontTokens;
        Evaluate(branches[0].Rows[0], [], 0, front, 0, wanted, cancellation);
        Flush(wanted, cancellation);
        for (int b = 0, lead = 0; b < branches.Count; lead += branches[b].Rows.Count, b++)
        {
            Share(0, lead, front);
            Evaluate(branches[b].Rows[0], branches[b].Rows, front, branches[b].SharedTokens, lead, wanted, cancellation);
        }

        Flush(wanted, cancellation);
        for (int b = 0, lead = 0; b < branches.Count; lead += branches[b].Rows.Count, b++)
        {
            var (rows, shared) = (branches[b].Rows, branches[b].SharedTokens);
            for (var r = 0; r < rows.Count; r++)
            {
                if (rows[r].Tokens.Length > shared)
                {
                    Share(lead, lead + r, shared);
                    Evaluate(rows[r], [rows[r]], shared, rows[r].Tokens.Length, lead + r, wanted, cancellation);
                }
            }
        }

        Flush(wanted, cancellation);
        return [.. branches.SelectMany(b => b.Rows).Select(row => row.Result(top > 0))];
    }

    /// <summary>Lets a sequence begin with the cells of another that were computed before.</summary>
    private void Share(int source, int target, int tokens)
    {
        if (source != target && tokens > 0)
        {
            context.Copy(source, target, 0, tokens);
        }
    }

    /// <summary>Queues positions [start, end) of a row in a sequence; their logits serve every row in <paramref name="serves"/>.</summary>
    private void Evaluate(
        ScoreRow row, IReadOnlyList<ScoreRow> serves, int start, int end, int sequence, List<WantedLogProb> wanted, CancellationToken cancellation)
    {
        for (var position = start; position < end; position++)
        {
            var completion = position - row.FirstOutput;
            var output = completion >= 0 && serves.Any(r => completion < r.Request.Completion.Count);
            var batchRow = Add(row.Tokens[position], position, sequence, output);
            foreach (var served in output ? serves : [])
            {
                if (completion < served.Request.Completion.Count)
                {
                    wanted.Add(new WantedLogProb(served, batchRow, completion));
                }
            }

            if (batch.Count == context.BatchSize)
            {
                Flush(wanted, cancellation);
            }
        }
    }

    private int Add(SequenceToken token, int position, int sequence, bool output)
    {
        Span<float> strengths = steering.Length <= 64 ? stackalloc float[steering.Length] : new float[steering.Length];
        for (var i = 0; i < strengths.Length; i++)
        {
            strengths[i] = steering[i].At(position, token.Role);
        }

        return batch.Add(token.Id, position, sequence, output, strengths);
    }

    private void Flush(List<WantedLogProb> wanted, CancellationToken cancellation)
    {
        if (batch.Count > 0)
        {
            context.Decode(batch, cancellation);
            EvaluatedTokens += batch.Count;
            foreach (var same in wanted.GroupBy(w => w.Batch))
            {
                var served = same.ToArray();
                var logprobs = context.LogProbs(same.Key, Array.ConvertAll(served, w => w.Row.Request.Completion[w.Completion]));
                var best = top > 0 ? likeliest.Of(context, same.Key, top) : [];
                for (var i = 0; i < served.Length; i++)
                {
                    var (row, _, completion) = served[i];
                    (row.LogProbs[completion], row.Top[completion]) = (logprobs[i], best);
                }
            }
        }

        wanted.Clear();
        batch.Clear();
    }

    /// <summary>A completion token of a row and the batch row whose logits predict it.</summary>
    private readonly record struct WantedLogProb(ScoreRow Row, int Batch, int Completion);
}

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
        var group = new ScoreGroup(context.SequenceLimit, context.ContextSize, context.BatchSize);
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

    /// <summary>Releases the context. The model stays.</summary>
    public void Dispose() => context.Dispose();

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
        var rows = group.Rows;
        if (rows.Count == 0)
        {
            return [];
        }

        context.Remove(-1, 0);
        var prefix = rows.Count > 1 ? group.SharedTokens : 0;
        batch.Clear(steering.Length);
        for (var position = 0; position < prefix; position++)
        {
            Add(rows[0].Tokens[position], position, 0, output: false);
            if (batch.Count == context.BatchSize)
            {
                Flush([], cancellation);
            }
        }

        Flush([], cancellation);
        for (var sequence = 1; sequence < rows.Count && prefix > 0; sequence++)
        {
            context.Copy(0, sequence, 0, prefix);
        }

        var wanted = new List<(ScoreRow Row, int Batch, int Completion)>();
        for (var sequence = 0; sequence < rows.Count; sequence++)
        {
            var row = rows[sequence];
            var firstOutput = row.Request.Prompt.Count - 1;
            for (var position = prefix; position < row.Tokens.Length; position++)
            {
                var scores = position >= firstOutput && row.Request.Completion.Count > 0;
                var batchRow = Add(row.Tokens[position], position, sequence, scores);
                if (scores)
                {
                    wanted.Add((row, batchRow, position - firstOutput));
                }

                if (batch.Count == context.BatchSize)
                {
                    Flush(wanted, cancellation);
                }
            }
        }

        Flush(wanted, cancellation);
        return [.. rows.Select(row => row.Result(top > 0))];
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

    private void Flush(List<(ScoreRow Row, int Batch, int Completion)> wanted, CancellationToken cancellation)
    {
        if (batch.Count > 0)
        {
            context.Decode(batch, cancellation);
            foreach (var (row, batchRow, completion) in wanted)
            {
                row.LogProbs[completion] = context.LogProbs(batchRow, [row.Request.Completion[completion]])[0];
                if (top > 0)
                {
                    row.Top[completion] = likeliest.Of(context, batchRow, top);
                }
            }
        }

        wanted.Clear();
        batch.Clear();
    }
}

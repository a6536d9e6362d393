using System.Diagnostics;
using System.Threading.Channels;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Batching;

/// <summary>
/// A request under way: pieces of its answer can be read as they come, once. Reading slowly holds up nobody. Cancelling frees its slot with the
/// engine's next step.
/// </summary>
#pragma warning disable CA1001 // the engine releases the sampler when the answer ends, and every answer ends
public sealed class RunningAnswer
#pragma warning restore CA1001
{
    private readonly BatchEngine engine;
    private readonly Channel<AnswerPiece> pieces = Channel.CreateUnbounded<AnswerPiece>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = false });
    private readonly List<float[]> distinctStrengths = [];
    private readonly List<float[]> strengths = [];
    private readonly int[] columns;
    private readonly Stopwatch clock = Stopwatch.StartNew();
    private readonly AnswerText text;
    private Sampler? sampler;
    private TimeSpan started;
    private TimeSpan firstToken;
    private int cachedTokens;
    private int generated;
    private int cancelled;

    internal RunningAnswer(BatchEngine engine, BatchRequest request, int[] columns, int maxTokens)
    {
        (this.engine, Request, this.columns, MaxTokens) = (engine, request, columns, maxTokens);
        text = new AnswerText(request.Stop);
        foreach (var token in request.Prompt.Tokens)
        {
            Add(token);
        }
    }

    /// <summary>What was asked for.</summary>
    public BatchRequest Request { get; }

    /// <summary>How it went; null until the last piece was written.</summary>
    public AnswerSummary? Summary { get; private set; }

    /// <summary>Prompt and answer so far.</summary>
    internal List<SequenceToken> Sequence { get; } = [];

    /// <summary>The vectors that it uses, by their place among the engine's.</summary>
    internal IEnumerable<int> Columns => columns.Where((_, i) => Request.Steering[i].Strength != 0);

    internal int MaxTokens { get; }

    internal int CellsNeeded => Request.Prompt.Count + MaxTokens;

    internal bool IsCancelled => Volatile.Read(ref cancelled) != 0;

    /// <summary>The pieces of the answer as they come.</summary>
    /// <param name="cancellation">Cancels the request, too.</param>
    /// <exception cref="YapoException">The model failed while it answered.</exception>
    /// <exception cref="RequestRefusedException">The engine was shut down while the request waited.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public async IAsyncEnumerable<AnswerPiece> ReadAsync([System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellation = default)
    {
        var finished = false;
        using var registration = cancellation.UnsafeRegister(static answer => ((RunningAnswer)answer!).Cancel(), this);
        try
        {
            await foreach (var piece in pieces.Reader.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                yield return piece;
            }

            finished = true;
            if (Summary?.Finish == FinishReason.Cancelled)
            {
                throw new OperationCanceledException("the request was cancelled", cancellation);
            }
        }
        finally
        {
            if (!finished)
            {
                Cancel(); // the reader left
            }
        }
    }

    /// <summary>Ends the request; its slot is free after the engine's next step. Does nothing when it has ended. Any thread.</summary>
    public void Cancel()
    {
        if (Interlocked.Exchange(ref cancelled, 1) == 0)
        {
            engine.OnCancelled(this);
        }
    }

    /// <summary>The strength of every vector of the engine at a position.</summary>
    internal float[] StrengthsAt(int position) => strengths[position];

    /// <summary>Creates the sampler.</summary>
    /// <exception cref="YapoException">A value out of range.</exception>
    internal void Prepare(LlamaModel model) => sampler = new Sampler(model, Request.Generation.Sampler);

    internal void Start(int cached) => (cachedTokens, started) = (cached, clock.Elapsed);

    /// <summary>Chooses the next token from a row of the last decode; null when the answer goes on, else why it ends.</summary>
    internal FinishReason? Advance(LlamaContext context, int row, TokenPieces vocabulary, LikeliestTokens likeliest)
    {
        var id = sampler!.Sample(context, row);
        if (generated == 0)
        {
            firstToken = clock.Elapsed;
        }

        if (vocabulary.EndsGeneration(id) && !Request.Generation.IgnoreEnd)
        {
            return FinishReason.Stop;
        }

        generated++;
        var token = Request.TopLogProbs is { } top ? new SampledToken(id, context.LogProbs(row, [id])[0], likeliest.Of(context, row, top)) : null;
        var shown = text.Append(vocabulary.Bytes(id), token);
        pieces.Writer.TryWrite(new AnswerPiece(shown, 1, text.TakeTokens(all: false)));
        if (text.Stopped)
        {
            return FinishReason.Stop;
        }

        if (generated >= MaxTokens)
        {
            return FinishReason.Length;
        }

        Add(new SequenceToken(id, TokenRole.Answer));
        return null;
    }

    internal void Finish(FinishReason reason)
    {
        if (text.Flush() is var rest && text.TakeTokens(all: true) is var tokens && (rest.Length > 0 || tokens.Count > 0))
        {
            pieces.Writer.TryWrite(new AnswerPiece(rest, 0, tokens));
        }

        End(reason, null);
    }

    internal void Fail(Exception error) => End(FinishReason.Cancelled, error);

    private void End(FinishReason reason, Exception? error)
    {
        sampler?.Dispose();
        sampler = null;
        var now = clock.Elapsed;
        var first = firstToken == default ? now : firstToken;
        var queued = started == default ? now : started;
        Summary = new AnswerSummary(reason, Request.Prompt.Count, cachedTokens, generated, queued, first - queued, now - first);
        pieces.Writer.TryComplete(error);
    }

    /// <summary>Equal rows share one array, so that comparing them is mostly comparing references.</summary>
    private void Add(SequenceToken token)
    {
        var position = Sequence.Count;
        Sequence.Add(token);
        Span<float> row = stackalloc float[engine.VectorCount <= 256 ? engine.VectorCount : 0];
        row = row.Length == engine.VectorCount ? row : new float[engine.VectorCount];
        row.Clear();
        for (var i = 0; i < columns.Length; i++)
        {
            row[columns[i]] += Request.Steering[i].At(position, token.Role);
        }

        foreach (var known in distinctStrengths)
        {
            if (row.SequenceEqual(known))
            {
                strengths.Add(known);
                return;
            }
        }

        distinctStrengths.Add(row.ToArray());
        strengths.Add(distinctStrengths[^1]);
    }
}

using System.Runtime.CompilerServices;
using System.Threading.Channels;
using YaPO.Llama.Batching;

namespace YaPO.Llama.Server.Api;

/// <summary>Something that happened to one of a request's answers: a piece of it, or its end.</summary>
internal readonly record struct AnswerEvent(int Index, AnswerPiece Piece, AnswerSummary? End);

/// <summary>The answers of one HTTP request, which run side by side.</summary>
internal sealed class Answers
{
    private readonly List<RunningAnswer> running = [];

    /// <summary>Hands all of them in, or none.</summary>
    public static Answers Submit(BatchEngine engine, IEnumerable<BatchRequest> requests)
    {
        var answers = new Answers();
        try
        {
            foreach (var request in requests)
            {
                answers.running.Add(engine.Submit(request));
            }

            return answers;
        }
        catch
        {
            answers.running.ForEach(a => a.Cancel());
            throw;
        }
    }

    public int Count => running.Count;

    /// <summary>Everything that happens, as it happens. Leaving early, or a failure of one, cancels all.</summary>
    public async IAsyncEnumerable<AnswerEvent> ReadAsync([EnumeratorCancellation] CancellationToken cancellation)
    {
        using var leaving = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var events = Channel.CreateUnbounded<AnswerEvent>(new UnboundedChannelOptions { SingleReader = true });
        var readers = Task.WhenAll(running.Select((answer, index) => ReadOneAsync(answer, index, events.Writer, leaving.Token)));
        _ = readers.ContinueWith(done => events.Writer.TryComplete(done.Exception?.InnerException), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        try
        {
            await foreach (var happened in events.Reader.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                yield return happened;
            }

            cancellation.ThrowIfCancellationRequested();
        }
        finally
        {
            await leaving.CancelAsync().ConfigureAwait(false);
        }
    }

    private static async Task ReadOneAsync(RunningAnswer answer, int index, ChannelWriter<AnswerEvent> events, CancellationToken cancellation)
    {
        try
        {
            await foreach (var piece in answer.ReadAsync(cancellation).ConfigureAwait(false))
            {
                events.TryWrite(new AnswerEvent(index, piece, null));
            }

            events.TryWrite(new AnswerEvent(index, default, answer.Summary));
        }
        catch (Exception e)
        {
            events.TryComplete(e);
            throw;
        }
    }
}

namespace YaPO.Llama.Server.Http;

/// <summary>Work beside the engine that runs one request at a time; a bounded number waits.</summary>
/// <param name="most">Requests running or waiting; more are refused.</param>
/// <param name="who">What waits, for the refusal: "conversations to be measured".</param>
internal sealed class Turns(int most, string who) : IDisposable
{
    private readonly SemaphoreSlim turn = new(1);
    private int waiting;

    /// <summary>Waits for the turn and works on another thread.</summary>
    /// <param name="work">Observes <paramref name="cancellation"/> itself.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <exception cref="ApiException">429: too many wait.</exception>
    public async Task<T> TakeAsync<T>(Func<T> work, CancellationToken cancellation)
    {
        try
        {
            if (Interlocked.Increment(ref waiting) > most)
            {
                throw new ApiException(429, $"too many {who} are waiting; try again later", code: "queue_full");
            }

            await turn.WaitAsync(cancellation).ConfigureAwait(false);
            try
            {
                return await Task.Run(work, CancellationToken.None).ConfigureAwait(false);
            }
            finally
            {
                turn.Release();
            }
        }
        finally
        {
            Interlocked.Decrement(ref waiting);
        }
    }

    public void Dispose() => turn.Dispose();
}

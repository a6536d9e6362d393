namespace YaPO.Llama.Cli.Terminal;

/// <summary>Reports on the calling thread; <see cref="Progress{T}"/> would post to the thread pool, out of order and after the end.</summary>
internal sealed class ProgressRelay<T>(Action<T> report) : IProgress<T>
{
    public void Report(T value) => report(value);
}

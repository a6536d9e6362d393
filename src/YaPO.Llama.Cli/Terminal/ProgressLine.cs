using System.Globalization;

namespace YaPO.Llama.Cli.Terminal;

/// <summary>
/// Progress of one long job on stderr: a bar with rate and time left on a terminal, a plain line every ten seconds elsewhere, nothing
/// with --quiet. <see cref="Report"/> may be called as often as the job likes and from any thread.
/// </summary>
internal sealed class ProgressLine : IDisposable
{
    private const int BarCells = 24;
    private const int MostColumns = 100;
    private static readonly TimeSpan TerminalInterval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan PlainInterval = TimeSpan.FromSeconds(10);

    private readonly CommandConsole console;
    private readonly string what;
    private readonly long total;
    private readonly string unit;
    private readonly TimeProvider time;
    private readonly long started;
    private readonly Lock gate = new();
    private long lastDrawn;
    private bool drawn;
    private bool ended;

    internal ProgressLine(CommandConsole console, string what, long total, string unit, TimeProvider time)
    {
        this.console = console;
        this.what = what;
        this.total = total;
        this.unit = unit;
        this.time = time;
        started = lastDrawn = time.GetTimestamp();
    }

    /// <summary>
    /// <paramref name="done"/> of the total are finished; <paramref name="note"/> is shown behind them (such as "loss 0.41"). <paramref name="left"/> is for
    /// jobs that know better than the mean rate since this line began: those that go on from a checkpoint.
    /// </summary>
    public void Report(long done, string? note = null, TimeSpan? left = null)
    {
        if (console.Verbosity == Verbosity.Quiet)
        {
            return;
        }

        lock (gate)
        {
            var sinceDrawn = time.GetElapsedTime(lastDrawn);
            if (ended || sinceDrawn < (console.IsErrorInteractive ? TerminalInterval : PlainInterval))
            {
                return;
            }

            lastDrawn = time.GetTimestamp();
            var text = Text(done, note, left);
            if (console.IsErrorInteractive)
            {
                drawn = true;
                console.WriteErrorRaw($"\r{Fit(text)}\u001b[K");
            }
            else
            {
                console.WriteErrorLine(text);
            }
        }
    }

    /// <summary>Wipes the line, so that another can be written in its place; the next report draws it again.</summary>
    internal void Erase()
    {
        if (drawn)
        {
            console.Error.Write("\r\u001b[K");
            drawn = false;
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            if (!ended)
            {
                ended = true;
                Erase();
            }
        }
    }

    private string Text(long done, string? note, TimeSpan? known)
    {
        var elapsed = time.GetElapsedTime(started);
        var fraction = total > 0 ? Math.Clamp((double)done / total, 0, 1) : 0;
        var left = known ?? (done >= total ? TimeSpan.Zero : done > 0 ? elapsed * ((double)(total - done) / done) : null);
        var cells = (int)(fraction * BarCells);
        var bar = console.IsErrorInteractive ? $" [{new string('#', cells)}{new string('.', BarCells - cells)}]" : ":";
        var tail = note is null ? "" : $", {note}";
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{what}{bar} {100 * fraction:0}% {done}/{total} {unit}, {Clock(elapsed)} passed{(left is { } rest ? $", {Clock(rest)} left" : "")}{tail}");
    }

    // A line that wraps cannot be wiped by one carriage return.
    private int LineWidth => Math.Min(console.ErrorWidth, MostColumns);

    private string Fit(string text) => text.Length < LineWidth ? text : text[..(LineWidth - 1)];

    private static string Clock(TimeSpan span) =>
        span.TotalHours >= 1
            ? string.Create(CultureInfo.InvariantCulture, $"{(int)span.TotalHours}:{span.Minutes:00}:{span.Seconds:00}")
            : string.Create(CultureInfo.InvariantCulture, $"{span.Minutes}:{span.Seconds:00}");
}

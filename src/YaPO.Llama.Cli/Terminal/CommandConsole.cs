using System.Text;
using Microsoft.Extensions.Logging;
using YaPO.Llama.Datasets;
using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Terminal;

/// <summary>
/// Where a command reads and writes: data to <see cref="Out"/>, everything else to <see cref="Error"/>. Injected, so that a test sees the
/// lines and the exit code. Nothing here writes an escape sequence to a stream that is not a terminal.
/// </summary>
internal sealed class CommandConsole : IDisposable
{
    private const int RedirectedWidth = 160;
    private const int DefaultWidth = 80; // a terminal that does not tell says 0
    private const int LeastWidth = 40;
    private readonly Lock gate = new();
    private ProgressLine? progress;

    public CommandConsole(TextReader input, TextWriter output, TextWriter error, Interrupts interrupts)
    {
        In = input;
        Out = output;
        Error = error;
        Interrupts = interrupts;
        Logs = new StderrLoggerFactory(this);
    }

    public TextReader In { get; }

    public TextWriter Out { get; }

    public TextWriter Error { get; }

    /// <summary>Ctrl+C: the token that every handler gets, and what the first press means.</summary>
    public Interrupts Interrupts { get; }

    /// <summary>Loggers that write to <see cref="Error"/>; llama.cpp's log goes through them too.</summary>
    public ILoggerFactory Logs { get; }

    public Verbosity Verbosity { get; set; } = Verbosity.Normal;

    /// <summary>With --verbose, llama.cpp's log goes to <see cref="Error"/>. Without, it stays silent: what matters of it is in the failure's message.</summary>
    public void RouteNativeLog()
    {
        if (Verbosity == Verbosity.Verbose)
        {
            LlamaRuntime.RouteLog(Logs.CreateLogger("llama.cpp"));
        }
    }

    /// <summary>Whether a person types the input.</summary>
    public bool IsInputInteractive { get; init; }

    /// <summary>Whether a person sees <see cref="Out"/> directly.</summary>
    public bool IsOutputInteractive { get; init; }

    /// <summary>Whether a person sees <see cref="Error"/> directly, on a terminal that can wipe a line.</summary>
    public bool IsErrorInteractive { get; init; }

    /// <summary>Columns of a table.</summary>
    public int Width { get; init; } = RedirectedWidth;

    /// <summary>Columns of the terminal that shows <see cref="Error"/>, wherever <see cref="Out"/> goes.</summary>
    public int ErrorWidth { get; init; } = DefaultWidth;

    /// <summary>The console of this process: UTF-8 whatever the locale says, '\n' line ends, Ctrl+C caught.</summary>
    public static CommandConsole ForProcess()
    {
        if (OperatingSystem.IsWindows() && !Console.IsOutputRedirected)
        {
            Console.OutputEncoding = Encoding.UTF8;
        }

        return new CommandConsole(
            new StreamReader(Console.OpenStandardInput(), Encoding.UTF8),
            Utf8(Console.OpenStandardOutput()),
            TextWriter.Synchronized(Utf8(Console.OpenStandardError())),
            Interrupts.ForProcess())
        {
            IsInputInteractive = !Console.IsInputRedirected,
            IsOutputInteractive = !Console.IsOutputRedirected,
            IsErrorInteractive = !Console.IsErrorRedirected && Environment.GetEnvironmentVariable("TERM") != "dumb",
            Width = Console.IsOutputRedirected ? RedirectedWidth : Console.WindowWidth is >= LeastWidth and var width ? width : DefaultWidth,
            ErrorWidth = !Console.IsErrorRedirected && Console.WindowWidth is > 0 and var columns ? columns : DefaultWidth,
        };
    }

    /// <summary>Reads a whole JSON Lines file, or stdin for "-", before any work starts.</summary>
    /// <exception cref="YapoException">Unreadable, without any line, or with a malformed line, which the message names.</exception>
    public List<T> ReadJsonLines<T>(string path, Func<JsonLine, T> convert)
    {
        var items = path == "-"
            ? JsonLines.Read(new MemoryStream(Encoding.UTF8.GetBytes(In.ReadToEnd())), "stdin", convert).ToList()
            : JsonLines.Read(path, convert).ToList();
        return items.Count > 0
            ? items
            : throw new YapoException(YapoErrorKind.Format, $"{(path == "-" ? "stdin" : path)} holds no line; expected one JSON object per line");
    }

    /// <summary>A line for the person, on stderr, unless --quiet.</summary>
    public void Note(string text)
    {
        if (Verbosity == Verbosity.Quiet)
        {
            return;
        }

        WriteErrorLine(text);
    }

    /// <summary>Something that may be wrong, on stderr, unless --quiet.</summary>
    public void Warn(string text) => Note($"warning: {text}");

    /// <summary>
    /// Starts a progress line on stderr: <paramref name="total"/> <paramref name="unit"/>s of <paramref name="what"/>. One at a time;
    /// dispose it to end the line.
    /// </summary>
    public ProgressLine Progress(string what, long total, string unit)
    {
        EndProgress();
        return progress = new ProgressLine(this, what, total, unit, TimeProvider.System);
    }

    /// <summary>Ends a progress line that is still drawn, so that the next line starts in the first column.</summary>
    public void EndProgress()
    {
        progress?.Dispose();
        progress = null;
    }

    /// <summary>Writes a whole line to stderr from any thread, above a progress line that is being drawn.</summary>
    internal void WriteErrorLine(string text)
    {
        lock (gate)
        {
            progress?.Erase();
            Error.WriteLine(text);
        }
    }

    /// <summary>Writes a line of data to stdout while a job runs; on a terminal that shows both streams, the progress line makes way.</summary>
    internal void WriteDataLine(string text)
    {
        lock (gate)
        {
            progress?.Erase();
            Out.WriteLine(text);
        }
    }

    /// <summary>Writes raw text to stderr, not between the parts of another line.</summary>
    internal void WriteErrorRaw(string text)
    {
        lock (gate)
        {
            Error.Write(text);
            Error.Flush();
        }
    }

    public void Flush()
    {
        Out.Flush();
        Error.Flush();
    }

    public void Dispose()
    {
        EndProgress();
        Flush();
        Interrupts.Dispose();
        Logs.Dispose();
    }

    // An answer is streamed piece by piece, so every write reaches the reader at once.
    private static StreamWriter Utf8(Stream stream) =>
        new(stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)) { AutoFlush = true, NewLine = "\n" };
}

using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;

namespace YaPO.Llama.Tests.Cli;

/// <summary>The built executable as a process with redirected streams, as a script sees it.</summary>
internal sealed partial class CliProcess : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5); // a software driver compiles its shaders on the way
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _error = new();

    private readonly Task _readers;

    // A shell starts background jobs with Ctrl+C ignored, and children inherit that: undo it, or no test could interrupt one.
    static CliProcess()
    {
        const int interrupt = 2;
        nint ignored = 1, standard = 0;
        if (!OperatingSystem.IsWindows() && signal(interrupt, standard) is var before && before != ignored)
        {
            signal(interrupt, before);
        }
    }

    private CliProcess(Process process)
    {
        _process = process;
        process.Start();
        _readers = Task.WhenAll(Task.Run(() => Read(process.StandardOutput, _output)), Task.Run(() => Read(process.StandardError, _error)));
    }

    public string Output
    {
        get
        {
            lock (_output)
            {
                return _output.ToString();
            }
        }
    }

    public string Error
    {
        get
        {
            lock (_error)
            {
                return _error.ToString();
            }
        }
    }

    public static CliProcess Start(string folder, params string[] args) => Start(folder, new Dictionary<string, string>(), args);

    private static CliProcess Start(string folder, IReadOnlyDictionary<string, string> environment, string[] args)
    {
        var start = new ProcessStartInfo(Executable, args)
        {
            WorkingDirectory = folder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = new UTF8Encoding(false),
            StandardErrorEncoding = new UTF8Encoding(false),
            StandardInputEncoding = new UTF8Encoding(false),
        };
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        return new CliProcess(new Process { StartInfo = start });
    }

    public static string Executable => Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "yapo-llama.exe" : "yapo-llama");

    public bool Running => !_process.HasExited;

    /// <summary>Runs where no file may grow beyond so many KiB, which is how a full disk looks to a writer (the shell's limit; not on Windows).</summary>
    public static CliRun RunWithFileLimit(string folder, long kibibytes, params string[] args)
    {
        var start = new ProcessStartInfo("bash", ["-c", $"trap '' XFSZ; ulimit -f {kibibytes}; exec \"$@\"", "bash", Executable, .. args])
        {
            WorkingDirectory = folder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["DOTNET_EnableDiagnostics"] = "0"; // the runtime's own files are limited, too
        start.Environment["DOTNET_EnableWriteXorExecute"] = "0";
        using var process = new CliProcess(new Process { StartInfo = start });
        return process.Finish();
    }

    /// <summary>Runs to the end with a text on stdin.</summary>
    public static CliRun Run(string folder, string input, params string[] args) => Run(folder, input, new Dictionary<string, string>(), args);

    /// <summary>The same with further environment variables.</summary>
    public static CliRun Run(string folder, string input, IReadOnlyDictionary<string, string> environment, params string[] args)
    {
        using var process = Start(folder, environment, args);
        process.Type(input);
        return process.Finish();
    }

    public void Type(string text)
    {
        _process.StandardInput.Write(text);
        _process.StandardInput.Flush();
    }

    /// <summary>Ctrl+C.</summary>
    public void Interrupt() => kill(_process.Id, 2).Should().Be(0);

    /// <summary>The power cut: no handler runs.</summary>
    public void Kill() => _process.Kill();

    /// <summary>Waits until <paramref name="condition"/> holds; fails with both streams when the process ends or patience does.</summary>
    public void WaitUntil(Func<CliProcess, bool> condition, string what)
    {
        var clock = Stopwatch.StartNew();
        while (!condition(this))
        {
            if (_process.HasExited || clock.Elapsed > Patience)
            {
                throw new InvalidOperationException($"{what} did not happen in {clock.Elapsed}\nstdout: {Output}\nstderr: {Error}");
            }

            Thread.Sleep(5);
        }
    }

    /// <summary>Waits for the end with stdin open; the exit code.</summary>
    public int WaitForExit() => _process.WaitForExit(Patience)
        ? _process.ExitCode
        : throw new InvalidOperationException($"still running after {Patience}\nstdout: {Output}\nstderr: {Error}");

    /// <summary>Closes stdin and waits for the end.</summary>
    public CliRun Finish()
    {
        _process.StandardInput.Close();
        WaitForExit();
        _readers.Wait(Patience).Should().BeTrue("both streams end with the process");
        return new CliRun(_process.ExitCode, Output, Error);
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }

        _process.Dispose();
    }

    // Character by character, not line by line: an answer is streamed.
    private static void Read(StreamReader reader, StringBuilder text)
    {
        var buffer = new char[1024];
        for (int n; (n = reader.Read(buffer, 0, buffer.Length)) > 0;)
        {
            lock (text)
            {
                text.Append(buffer, 0, n);
            }
        }
    }

    [LibraryImport("libc")]
    private static partial nint signal(int signal, nint handler);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int kill(int process, int signal);
}

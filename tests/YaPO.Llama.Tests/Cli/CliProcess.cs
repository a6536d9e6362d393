using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;

namespace YaPO.Llama.Tests.Cli;

/// <summary>The built executable as a process with redirected streams, as a script sees it.</summary>
internal sealed partial class CliProcess : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _error = new();

    private CliProcess(Process process)
    {
        _process = process;
        process.OutputDataReceived += (_, e) => Append(_output, e.Data);
        process.ErrorDataReceived += (_, e) => Append(_error, e.Data);
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
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

    public static CliProcess Start(string folder, params string[] args)
    {
        var executable = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "yapo-llama.exe" : "yapo-llama");
        var start = new ProcessStartInfo(executable, args)
        {
            WorkingDirectory = folder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = new UTF8Encoding(false),
            StandardErrorEncoding = new UTF8Encoding(false),
            StandardInputEncoding = new UTF8Encoding(false),
        };
        return new CliProcess(new Process { StartInfo = start });
    }

    /// <summary>Runs to the end with a text on stdin.</summary>
    public static CliRun Run(string folder, string input, params string[] args)
    {
        using var process = Start(folder, args);
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

    /// <summary>Closes stdin and waits for the end.</summary>
    public CliRun Finish()
    {
        _process.StandardInput.Close();
        if (!_process.WaitForExit(Patience))
        {
            throw new InvalidOperationException($"still running after {Patience}\nstdout: {Output}\nstderr: {Error}");
        }

        _process.WaitForExit(); // both streams to their end
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

    private static void Append(StringBuilder text, string? line)
    {
        if (line is not null)
        {
            lock (text)
            {
                text.Append(line).Append('\n');
            }
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int kill(int process, int signal);
}

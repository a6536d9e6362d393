using System.Collections.Concurrent;
using System.Diagnostics;

namespace YaPO.Llama.Tests.Python;

/// <summary>A test that needs python3 with NumPy, and with PyTorch where it says so; skipped, with the reason, where there is none.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class PythonFactAttribute : FactAttribute
{
    private static readonly string[] Candidates = ["python3", "/usr/bin/python3"];
    private static readonly ConcurrentDictionary<string, string?> Found = new();

    public PythonFactAttribute(bool torch = false)
    {
        var modules = torch ? "numpy, torch" : "numpy";
        Skip = Python(modules) is null ? $"there is no python3 with {modules} on this machine" : null!;
    }

    /// <summary>Runs Python with these arguments and returns what it prints; fails with its stderr unless it ends with 0.</summary>
    public static string Run(bool torch, params string[] arguments)
    {
        var (code, output, error) = Try(Python(torch ? "numpy, torch" : "numpy")!, arguments);
        code.Should().Be(0, error);
        return output;
    }

    private static string? Python(string modules) =>
        Found.GetOrAdd(modules, static m => Candidates.FirstOrDefault(p => Try(p, "-c", "import " + m).ExitCode == 0));

    private static (int ExitCode, string Output, string Error) Try(string python, params string[] arguments)
    {
        var start = new ProcessStartInfo(python, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["PYTHONDONTWRITEBYTECODE"] = "1"; // scripts import modules of the working copy
        try
        {
            using var process = Process.Start(start)!;
            var error = process.StandardError.ReadToEndAsync();
            var output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, output, error.Result);
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return (-1, "", e.Message);
        }
    }
}

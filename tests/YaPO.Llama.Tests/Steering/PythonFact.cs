using System.Diagnostics;

namespace YaPO.Llama.Tests.Steering;

/// <summary>A test that needs python3 with NumPy; skipped, with the reason, where there is none.</summary>
public sealed class PythonFactAttribute : FactAttribute
{
    private static readonly Lazy<string?> Found = new(() => new[] { "python3", "/usr/bin/python3" }.FirstOrDefault(p => Try(p, "import numpy").ExitCode == 0));

    public PythonFactAttribute() => Skip = Found.Value is null ? "python3 with NumPy is not on this machine" : null!;

    /// <summary>Runs a script; fails with what it wrote to stderr unless it ends with 0.</summary>
    public static string Run(string script, params string[] arguments)
    {
        var (code, output, error) = Try(Found.Value!, script, arguments);
        code.Should().Be(0, error);
        return output;
    }

    private static (int ExitCode, string Output, string Error) Try(string python, string script, params string[] arguments)
    {
        var start = new ProcessStartInfo(python, ["-c", script, .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["PYTHONDONTWRITEBYTECODE"] = "1"; // imports tools/read_ysv.py from the working copy
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

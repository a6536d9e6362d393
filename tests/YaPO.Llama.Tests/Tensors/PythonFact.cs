using System.Diagnostics;

namespace YaPO.Llama.Tests.Tensors;

/// <summary>A test that lets the real NumPy and PyTorch write files now; skipped where no Python with both is installed.</summary>
internal sealed class PythonFactAttribute : FactAttribute
{
    private static readonly string[] Candidates = ["python3", "/usr/bin/python3"];
    private static readonly Lazy<string?> Found = new(() => Candidates.FirstOrDefault(p => Run(p, "-c", "import numpy, torch") is { ExitCode: 0 }));

    public PythonFactAttribute() => Skip = Found.Value is null ? "no python3 with numpy and torch here; the committed golden files are tested all the same" : null;

    /// <summary>Runs a script of this repository that writes into a folder.</summary>
    public static void Script(params string[] arguments)
    {
        var (exit, error) = Run(Found.Value!, arguments)!.Value;
        exit.Should().Be(0, error);
    }

    private static (int ExitCode, string Error)? Run(string python, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(python, arguments) { RedirectStandardError = true })!;
            var error = process.StandardError.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, error);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null; // no such program
        }
    }
}

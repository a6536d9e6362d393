using System.Diagnostics;
using System.Runtime.InteropServices;

namespace YaPO.Llama.Tests.Native;

/// <summary>Runs every case of the native test executable (tests/native), each in its own process: a crash fails one case only.</summary>
public sealed class NativeTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    private static string Executable { get; } = Find();

    public static TheoryData<string> Cases()
    {
        var cases = new TheoryData<string>();
        (int exit, string output) = Run("--list");
        if (exit != 0)
        {
            throw new InvalidOperationException($"{Executable} --list ended with {exit}:\n{output}");
        }

        foreach (string name in output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            cases.Add(name);
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Native(string name)
    {
        (int exit, string output) = Run("--run", name);
        exit.Should().Be(0, "{0}", output);
    }

    private static (int Exit, string Output) Run(params string[] arguments)
    {
        var start = new ProcessStartInfo(Executable, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start) ?? throw new InvalidOperationException($"{Executable} did not start");
        Task<string> error = process.StandardError.ReadToEndAsync();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(Limit))
        {
            process.Kill(entireProcessTree: true);
            return (-1, $"did not end within {Limit}\n{output.Result}{error.Result}");
        }

        return (process.ExitCode, Tail(output.Result) + Tail(error.Result));
    }

    // llama.cpp logs a lot; the failure is at the end.
    private static string Tail(string text) => text.Length <= 20_000 ? text : "[...]\n" + text[^20_000..];

    private static string Find()
    {
        string file = OperatingSystem.IsWindows() ? "yapo-native-tests.exe" : "yapo-native-tests";
        string native = Path.Combine(AppContext.BaseDirectory, "runtimes");
        string portable = OperatingSystem.IsWindows() ? "win" : OperatingSystem.IsMacOS() ? "osx" : "linux";
        string path = Path.Combine(native, $"{portable}-{RuntimeInformation.OSArchitecture.ToString().ToLowerInvariant()}", "native", file);
        return File.Exists(path)
            ? path
            : throw new FileNotFoundException($"The native tests were not built: expected {path}. Is YAPO_TESTS off in CMake?");
    }
}

using System.Diagnostics;
using System.Runtime.InteropServices;

namespace YaPO.Llama.Tests.Native;

/// <summary>
/// Runs every case of the native test executable (tests/native), each in its own process: a crash fails one case only.
/// The Reference cases compare with unpatched llama.cpp; the CMake target yapo-reference is built for them first. The Published cases
/// steer the unpatched llama.cpp of an npm package, which the target yapo-published fetches. The cases that need a device are
/// <see cref="PublishedBackendTests"/>', the CudaPtx cases <see cref="CudaTests"/>'.
/// </summary>
public sealed class NativeTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    private static readonly Lock Building = new(); // one build directory

    private static string Executable { get; } = Find();

    private static readonly Lazy<string> Reference = new(() =>
        Path.Combine(BuildTarget("yapo-reference"), "reference", OperatingSystem.IsWindows() ? "yapo-reference.exe" : "yapo-reference"));

    private static readonly Lazy<string> Published = new(() => BuildTarget("yapo-published"));

    private static readonly IReadOnlyDictionary<string, string> Inherited = new Dictionary<string, string>();

    private static readonly string[] OfOtherTests = [PublishedBackendTests.Vulkan, PublishedBackendTests.Cuda, PublishedBackendTests.CudaGraphs, PublishedBackendTests.CudaRuntime, CudaTests.Prefix];

    public static TheoryData<string> Cases() => [.. List().Where(name => !OfOtherTests.Any(prefix => name.StartsWith(prefix, StringComparison.Ordinal)))];

    /// <summary>The names of all cases that check something.</summary>
    internal static IEnumerable<string> List()
    {
        (int exit, string output) = Run(Executable, Limit, Inherited, "--list");
        if (exit != 0)
        {
            throw new InvalidOperationException($"{Executable} --list ended with {exit}:\n{output}");
        }

        // "_Speed" cases measure and check nothing (YAPO_BENCHMARK=1 yapo-native-tests --run NAME): counted as tests they would always pass.
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Where(name => !name.EndsWith("_Speed", StringComparison.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Native(string name)
    {
        bool reference = name.StartsWith("Reference_", StringComparison.Ordinal);
        if (name.StartsWith("Published_", StringComparison.Ordinal))
        {
            _ = Published.Value;
        }

        RunCase(name, reference ? new Dictionary<string, string> { ["YAPO_REFERENCE"] = Reference.Value } : Inherited);
    }

    /// <summary>Runs one case with these environment variables besides ours; what it wrote.</summary>
    internal static string RunCase(string name, IReadOnlyDictionary<string, string> environment)
    {
        (int exit, string output) = Run(Executable, Limit, environment, "--run", name);
        exit.Should().Be(0, "{0}", output);
        return output;
    }

    /// <summary>Where the target yapo-published puts its libraries.</summary>
    internal static string PublishedDirectory => Run(Executable, Limit, Inherited, "--published-directory").Output.Trim();

    /// <summary>Builds a target that no ordinary build needs; returns CMake's build directory.</summary>
    internal static string BuildTarget(string target)
    {
        (int exit, string directory) = Run(Executable, Limit, Inherited, "--build-directory");
        directory = directory.Trim();
        if (exit != 0 || !Directory.Exists(directory))
        {
            throw new InvalidOperationException($"The CMake build directory '{directory}' of {Executable} is gone; the Reference and Published cases build {target} there.");
        }

        string[] build = ["--build", directory, "--target", target, "--config", "Release", "--parallel", $"{Environment.ProcessorCount}"];
        lock (Building)
        {
            (exit, string output) = Run("cmake", TimeSpan.FromMinutes(30), Inherited, build);
            exit.Should().Be(0, "cmake {0}:\n{1}", string.Join(' ', build), output);
        }

        return directory;
    }

    private static (int Exit, string Output) Run(string program, TimeSpan limit, IReadOnlyDictionary<string, string> environment, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string variable, string value) in environment)
        {
            start.Environment[variable] = value;
        }

        using Process process = Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start");
        Task<string> error = process.StandardError.ReadToEndAsync();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(limit))
        {
            process.Kill(entireProcessTree: true);
            return (-1, $"did not end within {limit}\n{output.Result}{error.Result}");
        }

        return (process.ExitCode, Tail(output.Result) + Tail(error.Result));
    }

    // llama.cpp logs a lot; the failure is at the end.
    private static string Tail(string text) => text.Length <= 20_000 ? text : "[...]\n" + text[^20_000..];

    // Beside the libraries that the managed tests load (YAPO_NATIVE_DIR points both at a build of one's own).
    private static string Find()
    {
        string file = OperatingSystem.IsWindows() ? "yapo-native-tests.exe" : "yapo-native-tests";
        string portable = OperatingSystem.IsWindows() ? "win" : OperatingSystem.IsMacOS() ? "osx" : "linux";
        string folder = Environment.GetEnvironmentVariable("YAPO_NATIVE_DIR")
            ?? Path.Combine(AppContext.BaseDirectory, "runtimes", $"{portable}-{RuntimeInformation.OSArchitecture.ToString().ToLowerInvariant()}", "native");
        string path = Path.Combine(folder, file);
        return File.Exists(path)
            ? path
            : throw new FileNotFoundException($"The native tests were not built: expected {path}. Is YAPO_TESTS off in CMake?");
    }
}

using System.Diagnostics;

namespace YaPO.Llama.Tests.Native;

/// <summary>
/// What can be held to of native/cuda without a GPU and without a toolkit: the device code compiles, into what it is meant to be, and
/// run by the emulated device of tests/native/cuda_emulator it computes what the host twin does, and ggml-cuda's own patch is small and applies.
/// That the twin computes the right thing: the native cases CudaTwin_ and Fused_. On a GPU: the cases Cuda_ of a build with the preset "cuda"
/// (tools/verify-cuda.sh).
/// </summary>
public sealed class CudaTests
{
    private const int Kernels = 32; // encoding: 3 for few tokens, 1 for many; decoding: 4 row types, 6 for few tokens and 1 for many of each
    private const int MostChangedLines = 40;

    /// <summary>Of the native cases that only these tests run.</summary>
    internal const string Prefix = "CudaPtx_";

    [NvptxFact]
    public void DeviceCode_CompilesToPtx_InRegistersOnly() => WithPtx(ptx =>
    {
        string[] lines = File.ReadAllLines(ptx);
        lines.Count(line => line.Contains(".visible .entry", StringComparison.Ordinal)).Should().Be(Kernels);
        lines.Should().NotContain(line => line.Contains(".local", StringComparison.Ordinal), "what a thread keeps must be in registers")
            .And.NotContain(line => line.Contains("call.uni", StringComparison.Ordinal), "phases must be inlined");
    });

    [NvptxFact]
    public void DeviceCode_OnTheEmulatedDevice_IsTheTwinBitForBit() => WithPtx(ptx =>
        NativeTests.RunCase(Prefix + "Kernels_AreTheTwinsBitForBit", new Dictionary<string, string> { ["YAPO_CUDA_PTX"] = ptx })
            .Should().Contain($"{Kernels} of {Kernels} kernels ran"));

    [Fact]
    public void Patch_AppliesToThePinnedTree_AndIsSmall()
    {
        string patch = Directory.GetFiles(Path.Combine(Root(), "native", "patches", "cuda"), "*.patch").Should().ContainSingle().Subject;
        string[] lines = File.ReadAllLines(patch);
        lines.Count(line => line.Length > 0 && line[0] is '+' or '-' && !line.StartsWith("+++", StringComparison.Ordinal) && !line.StartsWith("---", StringComparison.Ordinal)).Should().BeInRange(1, MostChangedLines);
        lines.Where(line => line.StartsWith("+++ ", StringComparison.Ordinal)).Should().OnlyContain(line => line.StartsWith("+++ b/ggml/src/ggml-cuda/", StringComparison.Ordinal));

        // The index of the source in use is the pinned tree: patches are applied to the files only.
        (int exit, string output) = Run("git", "-C", LlamaCppSource(), "apply", "--check", "--cached", patch);
        exit.Should().Be(0, "{0}", output);
    }

    private static void WithPtx(Action<string> check)
    {
        string cuda = Path.Combine(Root(), "native", "cuda");
        string ptx = Path.Combine(Path.GetTempPath(), $"yapo-{Guid.NewGuid():N}.ptx");
        try
        {
            (int exit, string output) = Run(
                NvptxFactAttribute.Compiler!, "-std=c++17", "-O3", "-Wall", "-Wextra", "-Werror", "-x", "cuda", "--cuda-device-only", "--cuda-gpu-arch=sm_80", "-Xclang", "-target-feature", "-Xclang", "+ptx70",
                "-nocudainc", "-nocudalib", "-fdeclspec", "-Wno-unknown-cuda-version", "-I", Path.Combine(cuda, "check"), "-include", "cuda_runtime.h", "-S", "-o", ptx, Path.Combine(cuda, "launch.cu"));
            exit.Should().Be(0, "{0}", output);
            check(ptx);
        }
        finally
        {
            File.Delete(ptx);
        }
    }

    private static string LlamaCppSource()
    {
        string artifacts = Path.Combine(Root(), "artifacts", "native");
        string cache = Path.Combine(artifacts, File.ReadAllText(Path.Combine(artifacts, "staged-preset.txt")).Trim(), "CMakeCache.txt");
        const string Key = "llama.cpp_SOURCE_DIR:STATIC=";
        return File.ReadLines(cache).Single(line => line.StartsWith(Key, StringComparison.Ordinal))[Key.Length..];
    }

    private static string Root()
    {
        DirectoryInfo? directory = new(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "YaPO.Llama.sln")))
        {
            directory = directory.Parent;
        }

        return directory?.FullName ?? throw new DirectoryNotFoundException($"No YaPO.Llama.sln above {AppContext.BaseDirectory}");
    }

    internal static (int Exit, string Output) Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start");
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + error.Result);
    }
}

/// <summary>A test that needs a clang that compiles for NVIDIA GPUs; skipped, with the reason, where there is none.</summary>
internal sealed class NvptxFactAttribute : FactAttribute
{
    private static readonly Lazy<string?> Found = new(() => new[] { "clang++" }.Concat(Enumerable.Range(14, 10).Select(version => $"clang++-{version}")).FirstOrDefault(Compiles));

    public NvptxFactAttribute() => Skip = Compiler is null ? "no clang++ (14 or later) with the NVPTX back end on this machine" : null!;

    public static string? Compiler => Found.Value;

    private static bool Compiles(string compiler)
    {
        try
        {
            return CudaTests.Run(compiler, "--print-targets") is (0, var targets) && targets.Contains("nvptx64", StringComparison.Ordinal);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false; // not there
        }
    }
}

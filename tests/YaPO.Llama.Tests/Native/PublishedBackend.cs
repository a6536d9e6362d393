using System.Runtime.InteropServices;
using YaPO.Llama.Models;

namespace YaPO.Llama.Tests.Native;

/// <summary>
/// One of ggml's backends for GPUs as an npm package of the pinned release holds it, a plug-in for our libraries too, and a device for it that no GPU is needed for.
/// CMake targets fetch and build what they need.
/// </summary>
internal sealed class PublishedBackend
{
    private static readonly string[] DriverFolders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

    private readonly Lazy<IReadOnlyDictionary<string, string>> _environment;

    private PublishedBackend(string device, string? missing, Func<IReadOnlyDictionary<string, string>> environment)
    {
        Device = device;
        Missing = missing;
        _environment = new(environment);
    }

    /// <summary>On whatever driver this machine has: Mesa's software driver (Debian's mesa-vulkan-drivers) is a device whose memory is not the host's, without a GPU.</summary>
    public static PublishedBackend Vulkan { get; } = new(
        "Vulkan0",
        OnlyLinuxX64 ?? (!NativeLibrary.TryLoad("libvulkan.so.1", out _) ? "no Vulkan loader (libvulkan.so.1) on this machine"
            : !DriverFolders.Any(folder => Directory.Exists(folder) && Directory.EnumerateFiles(folder, "*.json").Any()) ? "no Vulkan driver on this machine"
            : null),
        () => new Dictionary<string, string>
        {
            ["GGML_BACKEND_PATH"] = Fetch("vulkan"),
            ["GGML_VK_VISIBLE_DEVICES"] = "0", // else ggml hides software drivers
        });

    /// <summary>
    /// On the emulated CUDA device (tests/native/cuda_emulator): ggml-cuda's own host code, its graphs and streams, and its kernels' PTX for compute capability 8.0, run on
    /// the processor. Our own kernels are no part of this package: ggml's operations steer here.
    /// </summary>
    public static PublishedBackend Cuda { get; } = new(
        "CUDA0",
        OnlyLinuxX64 ?? (LlamaRuntime.Devices().Any(d => d.Name == "CUDA0") ? "the build under test has CUDA itself: tools/verify-cuda.sh checks it"
            : !NativeLibrary.TryLoad("libzstd.so.1", out _) ? "no libzstd.so.1 on this machine, which unpacks the package's PTX" : null),
        () => new Dictionary<string, string>
        {
            ["GGML_BACKEND_PATH"] = Fetch("cuda"),
            ["LD_LIBRARY_PATH"] = Path.Combine(NativeTests.BuildTarget("yapo-cuda-emulator"), "cuda-emulator", "13"),
        });

    /// <summary>Those that can be had here.</summary>
    public static IEnumerable<PublishedBackend> Here => new[] { Vulkan, Cuda }.Where(backend => backend.Missing is null);

    /// <summary>Its first device, as ggml names it.</summary>
    public string Device { get; }

    /// <summary>Why it cannot be had here; null where it can.</summary>
    public string? Missing { get; }

    /// <summary>What a process needs in its environment to have <see cref="Device"/>.</summary>
    public IReadOnlyDictionary<string, string> Environment => _environment.Value;

    private static string? OnlyLinuxX64 =>
        OperatingSystem.IsLinux() && RuntimeInformation.OSArchitecture == System.Runtime.InteropServices.Architecture.X64 ? null : "the package is for x86-64 Linux";

    private static string Fetch(string kind)
    {
        NativeTests.BuildTarget($"yapo-published-{kind}");
        return Path.Combine($"{NativeTests.PublishedDirectory}-{kind}", $"libggml-{kind}.so");
    }
}

/// <summary>A test that needs <see cref="PublishedBackend.Vulkan"/>; skipped, with the reason, where it cannot be had.</summary>
internal sealed class VulkanTheoryAttribute : TheoryAttribute
{
    public VulkanTheoryAttribute() => Skip = PublishedBackend.Vulkan.Missing!;
}

/// <summary>A test that needs <see cref="PublishedBackend.Cuda"/>; skipped, with the reason, where it cannot be had.</summary>
internal sealed class CudaTheoryAttribute : TheoryAttribute
{
    public CudaTheoryAttribute() => Skip = PublishedBackend.Cuda.Missing!;
}

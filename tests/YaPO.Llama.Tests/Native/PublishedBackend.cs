using System.Runtime.InteropServices;

namespace YaPO.Llama.Tests.Native;

/// <summary>
/// ggml's Vulkan backend as the npm package of the pinned release holds it, a plug-in for our libraries too, on whatever driver this machine has: Mesa's software driver
/// (Debian's mesa-vulkan-drivers) is a device whose memory is not the host's, without a GPU. The CMake target yapo-published-vulkan fetches the package.
/// </summary>
internal static class PublishedVulkan
{
    /// <summary>Its first device, as ggml names it.</summary>
    public const string Device = "Vulkan0";

    private static readonly string[] DriverFolders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

    private static readonly Lazy<IReadOnlyDictionary<string, string>> Fetched = new(() =>
    {
        NativeTests.BuildTarget("yapo-published-vulkan");
        return new Dictionary<string, string>
        {
            ["GGML_BACKEND_PATH"] = Path.Combine(NativeTests.PublishedDirectory + "-vulkan", "libggml-vulkan.so"),
            ["GGML_VK_VISIBLE_DEVICES"] = "0", // else ggml hides software drivers
        };
    });

    /// <summary>Why it cannot be had here; null where it can.</summary>
    public static string? Missing { get; } =
        !OperatingSystem.IsLinux() || RuntimeInformation.OSArchitecture != System.Runtime.InteropServices.Architecture.X64 ? "the package is for x86-64 Linux"
        : !NativeLibrary.TryLoad("libvulkan.so.1", out _) ? "no Vulkan loader (libvulkan.so.1) on this machine"
        : !DriverFolders.Any(folder => Directory.Exists(folder) && Directory.EnumerateFiles(folder, "*.json").Any()) ? "no Vulkan driver on this machine"
        : null;

    /// <summary>What a process needs in its environment to have <see cref="Device"/>.</summary>
    public static IReadOnlyDictionary<string, string> Environment => Fetched.Value;
}

/// <summary>A test that needs <see cref="PublishedVulkan"/>; skipped, with the reason, where it cannot be had.</summary>
internal sealed class VulkanTheoryAttribute : TheoryAttribute
{
    public VulkanTheoryAttribute() => Skip = PublishedVulkan.Missing!;
}

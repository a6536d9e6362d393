using System.Text.Json;
using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Machine;

/// <summary>
/// Vulkan drivers that compute on the processor, such as Mesa's. ggml hides them unless told otherwise, and lists those it is told of as GPUs: it passes on the driver's
/// description, not Vulkan's kind of device, so they are known by that.
/// </summary>
internal static class VulkanDrivers
{
    private static readonly string[] OnTheProcessor = ["llvmpipe", "SwiftShader"];

    /// <summary>What is to be said of a driver.</summary>
    /// <param name="Subject">The device, or the backend where it has none.</param>
    /// <param name="Detail">What it is, and what follows from it.</param>
    internal sealed record Remark(string Subject, string Detail);

    /// <param name="build"><see cref="LlamaRuntime.BuildInfo"/>; null: no library, so nothing is said.</param>
    /// <param name="devices">All devices of the build.</param>
    public static IReadOnlyList<Remark> Find(JsonElement? build, IReadOnlyCollection<DeviceInfo> devices) =>
        build is { } info && info.TryGetProperty("backends", out var backends)
            ? Find(backends.EnumerateArray().Any(b => b.GetString() is "Vulkan"), devices)
            : [];

    internal static IReadOnlyList<Remark> Find(bool built, IReadOnlyCollection<DeviceInfo> devices)
    {
        var found = devices
            .Where(device => OnTheProcessor.Any(name => device.Description.Contains(name, StringComparison.OrdinalIgnoreCase)))
            .Select(device => new Remark(device.Name, $"a software driver ({device.Description}): it computes on the processor, for tests; '--device cpu' is faster"))
            .ToList();
        if (built && !devices.Any(device => device.Name.StartsWith("Vulkan", StringComparison.Ordinal)))
        {
            found.Add(new Remark("Vulkan", "this build can use GPUs through it and no driver shows one; software drivers are hidden, GGML_VK_VISIBLE_DEVICES=0 shows the first driver there is"));
        }

        return found;
    }
}

using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Machine;

/// <summary>Loads models where somebody may be waiting: gigabytes take their time, and a silent terminal looks like a hung one.</summary>
internal static class ModelLoading
{
    private const double BytesPerMiB = 1 << 20;

    /// <summary><see cref="LlamaModel.Load"/> with a progress line; llama.cpp's log goes where <see cref="CommandConsole.RouteNativeLog"/> sends it.</summary>
    /// <exception cref="YapoException">As <see cref="LlamaModel.Load"/>.</exception>
    public static LlamaModel LoadModel(this CommandConsole console, string path, ModelOptions options, CancellationToken cancellation)
    {
        console.RouteNativeLog();
        var size = File.Exists(path) ? (long)Math.Ceiling(new FileInfo(path).Length / BytesPerMiB) : 0;
        using var progress = console.Progress($"loading {Path.GetFileName(path)}", size, "MiB");
        try
        {
            return LlamaModel.Load(path, options, new ProgressRelay<float>(done => progress.Report((long)(done * size))), cancellation);
        }
        catch (YapoException e) when (options.Device is not null && e.Kind == YapoErrorKind.InvalidArgument && e.Message.StartsWith("there is no device", StringComparison.Ordinal))
        {
            throw new YapoException(e.Kind, $"{e.Message}. 'yapo-llama doctor' says what the machine has that this build cannot use; docs/devices.md has the builds for GPUs", e);
        }
    }
}

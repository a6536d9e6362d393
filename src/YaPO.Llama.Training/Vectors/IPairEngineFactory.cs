using YaPO.Llama.Models;
using YaPO.Llama.Training.Features;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Training.Vectors;

/// <summary>What a pair engine computes on. Nothing is owned by the engine, and all of it outlives it.</summary>
/// <param name="Model">GGUF file.</param>
/// <param name="Layer">The steered block; the lowest of several.</param>
/// <param name="Sequences">Token sequences.</param>
/// <param name="Weights">Position weights [T] of each.</param>
/// <param name="Residuals">Rows after the block, sequence after sequence.</param>
/// <param name="Codes">Active latents of those rows, for sparse vectors; null: computed from the encoder rows of the latents.</param>
/// <param name="Workers">Threads.</param>
public sealed record PairEngineInput(
    string Model, int Layer, IReadOnlyList<EncodedSequence> Sequences, float[][] Weights, ResidualStore Residuals, LatentCodes? Codes, int Workers);

/// <summary>Makes the engine of a training run: where and in which arithmetic gradients are computed.</summary>
public interface IPairEngineFactory
{
    /// <summary><see cref="IPairEngine.Name"/> of its engines.</summary>
    string Name { get; }

    /// <summary>Where they compute, in words: "the CPU".</summary>
    string Place { get; }

    /// <summary>Bytes of this machine's memory per weight above the steered block, where they copy it; 0: they compute on the file's own pages or elsewhere.</summary>
    int HostBytesPerWeight { get; }

    /// <summary>The device that gets a copy of the weights as ggml holds them; null: none, or none that <see cref="Estimates.DeviceMemory"/> knows how to count on.</summary>
    DeviceInfo? Device => null;

    /// <summary><see cref="IPairEngine.Workers"/> for so many threads.</summary>
    int WorkersFor(int threads);

    /// <summary>Makes an engine.</summary>
    /// <exception cref="YapoException">The model or the device cannot be used.</exception>
    IPairEngine Create(PairEngineInput input);
}

/// <summary>Engines that differentiate through the GGUF's weights (<see cref="GgmlPairEngine"/>): on the CPU as the file has them, or on a device of ggml.</summary>
public sealed class GgmlPairEngineFactory : IPairEngineFactory
{
    private readonly string? _rpc;

    /// <summary>Engines on a device, which gets the blocks above the steered one, the head and transposed copies of their matrices.</summary>
    /// <param name="device">A name from <see cref="LlamaRuntime.Devices"/> or <see cref="LlamaRuntime.RpcDevices"/>. <c>CPU</c> is the CPU in ggml's plain operations, slower than <see cref="Instance"/>.</param>
    /// <param name="rpc">RPC servers, <c>host:port,host:port</c>; null: none.</param>
    /// <exception cref="YapoException">There is no such device (<see cref="YapoErrorKind.InvalidArgument"/>), or a server does not answer (<see cref="YapoErrorKind.Io"/>).</exception>
    public GgmlPairEngineFactory(string device, string? rpc = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(device);
        IReadOnlyList<DeviceInfo> known = [.. LlamaRuntime.Devices(), .. rpc is null ? [] : LlamaRuntime.RpcDevices(rpc)];
        Device = known.FirstOrDefault(d => d.Name.Equals(device, StringComparison.OrdinalIgnoreCase))
            ?? throw new YapoException(YapoErrorKind.InvalidArgument, $"there is no device \"{device}\"; this build and machine have: {string.Join(", ", known.Select(d => d.Name))}");
        _rpc = rpc;
    }

    private GgmlPairEngineFactory()
    {
    }

    /// <summary>On the CPU, with fused kernels, on the file's own pages.</summary>
    public static GgmlPairEngineFactory Instance { get; } = new();

    /// <inheritdoc/>
    public string Name => GgmlPairEngine.NameOn(Device?.Name);

    /// <inheritdoc/>
    public string Place => Device is { } device ? $"{device.Name} ({device.Description})" : "the CPU";

    /// <inheritdoc/>
    public DeviceInfo? Device { get; }

    /// <inheritdoc/>
    public int HostBytesPerWeight => 0;

    /// <inheritdoc/>
    /// <remarks>1 on a device: it computes one sequence at a time, with all it has.</remarks>
    public int WorkersFor(int threads) => Device is null ? threads : 1;

    /// <inheritdoc/>
    public IPairEngine Create(PairEngineInput input) =>
        new GgmlPairEngine(input.Model, input.Layer, input.Sequences, input.Weights, input.Residuals, WorkersFor(input.Workers), input.Codes, Device?.Name, _rpc);
}

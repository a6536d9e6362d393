using TorchSharp;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.TorchSharp;

/// <summary>Engines on a TorchSharp float copy of the upper blocks: for <see cref="Training.SteeringTrainingOptions.Engine"/>.</summary>
public sealed class TorchPairEngineFactory : IPairEngineFactory
{
    private readonly torch.Device _device;
    private readonly TorchPrecision _precision;

    /// <summary>Opens the device.</summary>
    /// <param name="device">Null: the first CUDA device, else the CPU; else <c>cpu</c>, <c>CUDA0</c>, <c>CUDA1</c>, ….</param>
    /// <param name="precision">Of the weights.</param>
    /// <exception cref="YapoException">There is no such device (<see cref="YapoErrorKind.InvalidArgument"/>), or no libtorch beside the program (<see cref="YapoErrorKind.Unsupported"/>).</exception>
    public TorchPairEngineFactory(string? device = null, TorchPrecision precision = TorchPrecision.F32) => (_device, _precision) = (TorchDevice.Open(device), precision);

    /// <inheritdoc/>
    public string Name => _precision == TorchPrecision.BF16 ? "yapo-torch/1 bf16" : "yapo-torch/1 f32";

    /// <inheritdoc/>
    public string Place => _device.type == DeviceType.CPU ? "the CPU (libtorch)" : $"{_device} (libtorch)";

    /// <inheritdoc/>
    public int HostBytesPerWeight => _device.type != DeviceType.CPU ? 0 : _precision == TorchPrecision.BF16 ? 2 : 4;

    /// <inheritdoc/>
    /// <remarks>1: libtorch's threads, or the GPU, share each sequence.</remarks>
    public int WorkersFor(int threads) => 1;

    /// <inheritdoc/>
    public IPairEngine Create(PairEngineInput input) => new TorchPairEngine(input, _device, _precision, Name);
}

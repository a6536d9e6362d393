using YaPO.Llama.Training;
using YaPO.Llama.Training.Vectors;
#if WITH_TORCHSHARP
using YaPO.Llama.TorchSharp;
#endif

namespace YaPO.Llama.Cli.Machine;

/// <summary>
/// What computes the gradients of <c>train</c>, and where. A device that the user names is where all of training runs, forward passes and gradients; without one llama.cpp
/// chooses for the forward passes, and gradients are computed on this machine's CPU, whose kernels need no second copy of the weights. The torch engine computes on libtorch's devices.
/// </summary>
internal static class GradientEngine
{
    /// <summary>On the GGUF's weights as they are.</summary>
    public const string Ggml = "ggml";

    /// <summary>On a TorchSharp float copy; only in builds with the adapter.</summary>
    public const string Torch = "torch";

    /// <summary>The run with the engine of that name. Nothing is computed elsewhere than the user said: what cannot be had is refused.</summary>
    /// <param name="training">The run; its method and device are looked at.</param>
    /// <param name="engine"><see cref="Ggml"/> or <see cref="Torch"/>.</param>
    /// <param name="precision">Weights of the float copy: <c>f32</c> or <c>bf16</c>; null: not given.</param>
    /// <exception cref="YapoException">A device, an engine or a precision that the run cannot have (<see cref="YapoErrorKind.InvalidArgument"/>).</exception>
    public static SteeringTrainingOptions Choose(SteeringTrainingOptions training, string engine, string? precision)
    {
        var gradients = training.Method is SteeringMethod.Yapo or SteeringMethod.Bipo;
        var (device, rpc) = (training.ModelOptions.Device, training.ModelOptions.Rpc);
        if (engine == Ggml)
        {
            return precision is not null ? throw Refused("--torch-type is for --engine torch; the ggml engine computes on the weights as they are in the file")
                : gradients && device is not null && !device.Equals("cpu", StringComparison.OrdinalIgnoreCase) ? training with { Engine = new GgmlPairEngineFactory(device, rpc) }
                : training;
        }

        return gradients ? training with { Engine = TorchEngine(device, precision) }
            : throw Refused($"--engine torch computes gradients, and --method {training.MethodName} has none; leave --engine out");
    }

#if WITH_TORCHSHARP
    private static TorchPairEngineFactory TorchEngine(string? device, string? precision) => new(device, precision == "bf16" ? TorchPrecision.BF16 : TorchPrecision.F32);
#else
    private static IPairEngineFactory TorchEngine(string? device, string? precision) => throw Refused(
        $"--engine torch{(precision is null ? "" : $" --torch-type {precision}")}{(device is null ? "" : $" on {device}")}: this yapo-llama was built without TorchSharp. "
        + "Build one with it: dotnet build -c Release src/YaPO.Llama.Cli -p:WithTorchSharp=true (for CUDA also -p:TorchSharpBackend=TorchSharp-cuda-linux, or -windows); or leave --engine out to train on the CPU with the built-in engine");
#endif

    private static YapoException Refused(string message) => new(YapoErrorKind.InvalidArgument, message);
}

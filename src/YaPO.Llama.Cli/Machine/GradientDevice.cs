using YaPO.Llama.Training;

namespace YaPO.Llama.Cli.Machine;

/// <summary>
/// Where <c>train</c> computes gradients. ggml's backends have no kernels for the transposed products of quantized weights, nor for the sparse codes and the
/// chunked head of our graph, so the ggml engine differentiates on this machine's CPU whatever holds the forward passes.
/// </summary>
internal static class GradientDevice
{
    /// <summary>Refuses a device that only a part of the run would use: who names one expects training to happen there.</summary>
    /// <exception cref="YapoException">A device other than the CPU for a method with gradients (<see cref="YapoErrorKind.InvalidArgument"/>).</exception>
    public static void Require(SteeringTrainingOptions training)
    {
        if (training.Method is SteeringMethod.Yapo or SteeringMethod.Bipo && training.ModelOptions.Device is { } device && !device.Equals("cpu", StringComparison.OrdinalIgnoreCase))
        {
            throw new YapoException(
                YapoErrorKind.InvalidArgument,
                $"--device {device}: --method {training.MethodName} computes gradients on the CPU only (--engine ggml), so that device would hold no more than the forward passes up to the block. "
                + "Leave --device out: those passes then use the GPUs or the servers of --rpc by themselves, and gradients the CPU; or say --device cpu for both. Methods without gradients (caa, sas) take any device");
        }
    }
}

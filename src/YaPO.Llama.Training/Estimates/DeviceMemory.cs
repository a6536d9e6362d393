using YaPO.Llama.Gguf;
using YaPO.Llama.Models;

namespace YaPO.Llama.Training.Estimates;

/// <summary>
/// Memory of a training run on the device that computes it, in bytes, from the shapes in the model file. First the blocks that llama.cpp puts there for the capture; when
/// these are released, the blocks above the steered one and the head for the gradients.
/// </summary>
/// <param name="Device">Its name.</param>
/// <param name="Free">What it had free when it was asked; 0: it does not say.</param>
/// <param name="Capture">All blocks and the head, where llama.cpp puts them all there.</param>
/// <param name="Weights">Blocks above the layer and the head, as in the file.</param>
/// <param name="Copies">Their matrices transposed: F32, F16 and BF16 in their type, quantized ones as Q8_0 (F16 where the rows are no multiple of 32).</param>
/// <param name="Latents">Rows of the trained latents: 8 P D, above the lowest block 16 P D, and their codes and coefficients, 24 P T.</param>
/// <param name="Activations">4 T (B + 1) (6 FF + 6 D + 2 (Q + 2 KV) + 2 H T) for B blocks, and 12 V C for the head's chunks of C positions (about 32 MB of logits each): what Gemma 2 takes and up to a half more, twice what Llama takes.</param>
public sealed record DeviceMemory(string Device, long Free, long Capture, long Weights, long Copies, long Latents, long Activations)
{
    /// <summary>While gradients are computed.</summary>
    public long Training => Weights + Copies + Latents + Activations;

    /// <summary>The larger of the two stages.</summary>
    public long Peak => Math.Max(Capture, Training);

    /// <summary>Whether it fits, or the device does not say.</summary>
    public bool Fits => Free <= 0 || Peak <= Free;

    /// <summary>What to do where it does not fit.</summary>
    public const string Advice = "A later --layer, a smaller --max-tokens, a smaller SAE or a stronger quantization need less; without --device gradients are computed on the CPU";

    /// <summary>Estimates a run.</summary>
    /// <param name="gguf">The model.</param>
    /// <param name="device">Where it runs.</param>
    /// <param name="layer">Steered block L.</param>
    /// <param name="latents">Trained latents P of the lowest block; 0 for dense vectors.</param>
    /// <param name="higherLatents">Those of higher blocks.</param>
    /// <param name="longest">Tokens T of the longest sequence.</param>
    /// <param name="captures">llama.cpp puts all blocks there for the capture.</param>
    public static DeviceMemory Estimate(GgufFile gguf, DeviceInfo device, int layer, int latents, int higherLatents, int longest, bool captures)
    {
        ArgumentNullException.ThrowIfNull(gguf);
        ArgumentNullException.ThrowIfNull(device);
        var shape = ModelSizes.Of(gguf);
        var upper = gguf.Tensors.Where(t => ModelSizes.BlockOf(t) > layer).Append(shape.Head).OfType<GgufTensor>().ToList();
        var chunk = Math.Clamp((8L << 20) / Math.Max(1, shape.Vocabulary) / 16 * 16, 16, 1024);
        var perToken = (6 * shape.Wide) + (6 * shape.D) + (2 * (shape.Queries + (2 * shape.Keys))) + (2 * shape.Heads * longest);
        return new DeviceMemory(
            device.Name,
            device.MemoryFree,
            captures ? gguf.Tensors.Where(t => ModelSizes.BlockOf(t) >= 0).Sum(t => t.Bytes) + (shape.Head?.Bytes ?? 0) : 0,
            upper.Sum(t => t.Bytes),
            upper.Sum(CopyOf),
            (((8L * latents) + (16L * higherLatents)) * shape.D) + (24L * (latents + higherLatents) * longest),
            (4L * longest * (shape.Blocks - layer) * perToken) + (12L * shape.Vocabulary * Math.Min(chunk, longest)));
    }

    /// <summary>Bytes of a matrix's transposed copy; 0 for a vector. As libyapo chooses the type.</summary>
    public static long CopyOf(GgufTensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        return tensor.Rows <= 1 ? 0
            : tensor.Type is GgmlType.F32 or GgmlType.F16 or GgmlType.BF16 ? tensor.Bytes
            : tensor.Rows % 32 == 0 ? tensor.Elements / 32 * 34
            : 2 * tensor.Elements;
    }

    /// <summary>Refuses a run that cannot fit, and says what would.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Failed"/>.</exception>
    public void Require(int longest)
    {
        if (!Fits)
        {
            throw new YapoException(
                YapoErrorKind.Failed,
                $"this training needs about {TrainingMemory.Gigabytes(Peak)} of memory on {Device}, {TrainingMemory.Gigabytes(Free)} are free there (capture {TrainingMemory.Gigabytes(Capture)}; gradients {TrainingMemory.Gigabytes(Training)}: "
                + $"upper blocks {TrainingMemory.Gigabytes(Weights)}, their transposed copies {TrainingMemory.Gigabytes(Copies)}, latents {TrainingMemory.Gigabytes(Latents)}, activations {TrainingMemory.Gigabytes(Activations)} for {longest} tokens). {Advice}");
        }
    }
}

using System.Globalization;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;

namespace YaPO.Llama.Training.Estimates;

/// <summary>
/// Memory of a training run, in bytes, from the shapes in the model file. Weights are mapped, so their pages count while they are touched; the whole model
/// is mapped while residuals are captured, the blocks above the steered one and the head while the vector is trained.
/// </summary>
/// <param name="Model">The file: all of it is mapped during the capture.</param>
/// <param name="Capture">Context and logits of llama.cpp during the capture, 4 T (V + 2 FF + 8 D), plus the blocks where llama.cpp may hold them a second time (see <see cref="ModelOptions.KeepLayout"/>).</param>
/// <param name="Upper">Weights above the layer, and the head: mapped, or the copy of an engine that makes one.</param>
/// <param name="Activations">Of all workers: 4 T B (3 FF + 6 D + 2 (Q + 2 KV) + 2 H T) each, B blocks above the layer (about a third above what a run at Gemma-2-2B's shape took).</param>
/// <param name="Latents">Decoder rows of the trained latents, once for the graph and once to choose from: 8 P D; above the lowest block the encoder's, too: 16 P D.</param>
/// <param name="Residuals">4 N D; beyond a GiB on disk.</param>
public sealed record TrainingMemory(long Model, long Capture, long Upper, long Activations, long Latents, long Residuals)
{
    private const long ResidualLimit = 1L << 30;

    /// <summary>What goes to the device that computes the gradients; null: they are computed here.</summary>
    public DeviceMemory? Device { get; init; }

    /// <summary>While residuals are captured.</summary>
    public long CapturePeak => Model + Capture;

    /// <summary>The larger of the two stages.</summary>
    public long Peak => Math.Max(CapturePeak, Upper + Activations + Latents + (Residuals <= ResidualLimit ? Residuals : 0));

    /// <summary>Estimates a run.</summary>
    /// <param name="gguf">The model.</param>
    /// <param name="layer">Steered block L.</param>
    /// <param name="latents">Trained latents P of the lowest block; 0 for dense vectors.</param>
    /// <param name="longest">Tokens T of the longest sequence.</param>
    /// <param name="rows">Residual rows N of all sequences.</param>
    /// <param name="workers">Sequences computed at once.</param>
    /// <param name="higherLatents">Trained latents of higher blocks.</param>
    /// <param name="bytesPerWeight">Of a copy of the upper weights; 0: they are mapped.</param>
    /// <param name="keepLayout">The capture computes with the weights as they are mapped.</param>
    public static TrainingMemory Estimate(GgufFile gguf, int layer, int latents, int longest, long rows, int workers, int higherLatents = 0, int bytesPerWeight = 0, bool keepLayout = false)
    {
        var shape = ModelSizes.Of(gguf);
        long Used(GgufTensor? tensor) => tensor is null ? 0 : bytesPerWeight > 0 ? bytesPerWeight * tensor.Elements : tensor.Bytes;
        var upper = Used(shape.Head) + gguf.Tensors.Where(t => ModelSizes.BlockOf(t) > layer).Sum(Used);
        var perToken = (3 * shape.Wide) + (6 * shape.D) + (2 * (shape.Queries + (2 * shape.Keys))) + (2 * shape.Heads * longest);
        return new TrainingMemory(
            gguf.Length,
            (4L * longest * (shape.Vocabulary + (2 * shape.Wide) + (8 * shape.D))) + (keepLayout ? 0 : gguf.Tensors.Where(t => ModelSizes.BlockOf(t) >= 0).Sum(t => t.Bytes)),
            upper,
            4L * workers * longest * Math.Max(1, shape.Blocks - 1 - layer) * perToken,
            ((8L * latents) + (16L * higherLatents)) * shape.D,
            4L * rows * shape.D);
    }

    /// <summary>Refuses a run that cannot fit, and says what would.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Failed"/>.</exception>
    public void Require(long available, int longest, int workers)
    {
        Device?.Require(longest);
        if (Peak > available)
        {
            throw new YapoException(
                YapoErrorKind.Failed,
                $"this training needs about {Gigabytes(Peak)} of memory, {Gigabytes(available)} are available "
                + $"(model {Gigabytes(Model)}, upper blocks {Gigabytes(Upper)}, activations {Gigabytes(Activations)} of {workers} workers and {longest} tokens, latents {Gigabytes(Latents)}, residuals {Gigabytes(Residuals)}). "
                + "Fewer --threads, a smaller --max-tokens, a later --layer, a smaller SAE or a stronger quantization need less");
        }
    }

    internal static string Gigabytes(long bytes) => (bytes / 1e9).ToString("0.0#", CultureInfo.InvariantCulture) + " GB";
}

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

    /// <summary><see cref="IPairEngine.Workers"/> for so many threads.</summary>
    int WorkersFor(int threads);

    /// <summary>Makes an engine.</summary>
    /// <exception cref="YapoException">The model or the device cannot be used.</exception>
    IPairEngine Create(PairEngineInput input);
}

/// <summary>Engines that differentiate through the GGUF's weights as they are (<see cref="GgmlPairEngine"/>).</summary>
public sealed class GgmlPairEngineFactory : IPairEngineFactory
{
    /// <summary>The one there is.</summary>
    public static GgmlPairEngineFactory Instance { get; } = new();

    /// <inheritdoc/>
    public string Name => GgmlPairEngine.EngineName;

    /// <inheritdoc/>
    public string Place => "the CPU";

    /// <inheritdoc/>
    public int HostBytesPerWeight => 0;

    /// <inheritdoc/>
    public int WorkersFor(int threads) => threads;

    /// <inheritdoc/>
    public IPairEngine Create(PairEngineInput input) =>
        new GgmlPairEngine(input.Model, input.Layer, input.Sequences, input.Weights, input.Residuals, input.Workers, input.Codes);
}

namespace YaPO.Llama.Training.Features;

/// <summary>
/// What training an SAE needs in memory at its peak, in bytes. D model width, F latents, N rows of a batch, all F32. Measured on the demo model with
/// F = 32768, D = 256, N = 2048: 821 MiB resident where this says about 870.
/// </summary>
/// <param name="Model">The model's file: weights are mapped, and read while rows are captured.</param>
/// <param name="State">Encoder and decoder, 8·F·D bytes, as values, two moments and gradients, and as many again in the copies of the start and the end.</param>
/// <param name="Codes">24 bytes for an eighth of N·F latents, which lists of active latents grow from.</param>
/// <param name="Rows">The block of rows being trained on, the rows of evaluation twice, a batch twice, and all rows where they are kept.</param>
internal sealed record SaeMemory(long Model, long State, long Codes, long Rows)
{
    private const long Runtime = 160L << 20; // .NET and llama.cpp's buffers

    public long Total => Runtime + Model + State + Codes + Rows;

    /// <summary>The estimate for a run.</summary>
    /// <param name="options">The run.</param>
    /// <param name="width">D.</param>
    /// <param name="keptRows">Rows kept for all passes; 0: none.</param>
    public static SaeMemory Estimate(SaeTrainingOptions options, long width, long keptRows)
    {
        var (f, n, row) = ((long)options.Latents, (long)options.BatchSize, width * sizeof(float));
        return new SaeMemory(
            new FileInfo(options.Model).Length,
            checked(64 * f * width),
            checked(n * f / 8 * 24),
            checked((options.BlockRows + (2L * options.EvaluationRows) + (2 * n) + keptRows) * row));
    }

    /// <summary>One line for people.</summary>
    public override string ToString() => $"{Text(Total)} of memory: SAE {Text(State)}, rows {Text(Rows)}, lists {Text(Codes)}, model {Text(Model)}";

    /// <summary>Refuses what this machine (or its container) can never hold.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/>.</exception>
    public void Require(long available)
    {
        if (Total > available)
        {
            throw new YapoException(
                YapoErrorKind.InvalidArgument,
                $"training would need about {this}; this machine has {Text(available)}. Fewer latents (--latents), smaller blocks of rows (--block-rows) or a smaller batch (--batch-size) need less.");
        }
    }

    private static string Text(long bytes) => bytes >= 1L << 30
        ? string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):0.0} GiB")
        : $"{Math.Max(1, bytes >> 20)} MiB";
}

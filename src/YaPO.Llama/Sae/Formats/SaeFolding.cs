namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// What the steps of a conversion work on. The two matrices stay in their file: a step may scale each feature's row, and only the factors are held. Everything of
/// size F or D is held in double precision. D = d_model, F = width, w_j and d_j the encoder's and decoder's vector of feature j.
/// </summary>
internal sealed class SaeFolding(SaeSource source, int d, int f, IReadOnlyDictionary<SaePart, double[]> parts, double? inputScale, FeatureRows encoder, FeatureRows decoder)
{
    public int D => d;

    public int F => f;

    public SaeConfig Config => source.Config;

    /// <summary>The weights' path, for messages.</summary>
    public string Path => source.Path;

    /// <summary>c of <c>--input-scale</c>.</summary>
    public double? InputScale => inputScale;

    /// <summary>[F]: the result's encoder row is this times w_j.</summary>
    public double[] EncoderScale { get; } = Ones(f);

    /// <summary>[F]: the result's decoder row is this times d_j.</summary>
    public double[] DecoderScale { get; } = Ones(f);

    public double[] EncoderBias { get; set; } = Values(parts, SaePart.EncoderBias, f);

    public double[] DecoderBias { get; } = Values(parts, SaePart.DecoderBias, d);

    /// <summary>[F]; null: no thresholds.</summary>
    public double[]? Threshold { get; set; } = parts.GetValueOrDefault(SaePart.Threshold)?.ToArray();

    /// <summary>Facts worth recording beside the steps.</summary>
    public List<string> Notes { get; } = [];

    /// <summary>A part as it was read; null when the file has none.</summary>
    public double[]? Part(SaePart part) => parts.GetValueOrDefault(part);

    /// <summary>[F]: ‖DecoderScale_j · d_j‖, from one pass over the decoder.</summary>
    public double[] DecoderNorms()
    {
        var squares = decoder.SumOfSquares();
        return [.. squares.Select((s, j) => Math.Sqrt(s) * Math.Abs(DecoderScale[j]))];
    }

    /// <summary>[F]: EncoderScale_j · (w_j · <paramref name="direction"/>), from one pass over the encoder.</summary>
    public double[] EncoderProducts(double[] direction)
    {
        var products = encoder.Products(direction);
        return [.. products.Select((p, j) => p * EncoderScale[j])];
    }

    private static double[] Ones(int n)
    {
        var values = new double[n];
        Array.Fill(values, 1);
        return values;
    }

    private static double[] Values(IReadOnlyDictionary<SaePart, double[]> parts, SaePart part, int n) => parts.GetValueOrDefault(part)?.ToArray() ?? new double[n];
}

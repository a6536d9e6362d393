using System.Globalization;

namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// The steps that formats' tables are made of. Each keeps the SAE's function of the raw residual row x and brings it closer to the run-time form; x̂ is the
/// reconstruction, h the pre-activation.
/// </summary>
internal static class SaeSteps
{
    /// <summary>
    /// Weights trained on inputs and outputs of norm √D (OpenMOSS' dataset-wise norm): s_in = √D / n_in, s_out = √D / n_out,
    /// b_enc /= s_in, d_j *= s_in / s_out, b_dec /= s_out. The original code leaves the encoder and the threshold alone.
    /// </summary>
    public static readonly SaeStep DatasetNorm = new("mean activation norms of the training data folded into b_enc, W_dec and b_dec", s =>
    {
        var (inputScale, outputScale) = (Scale(SaePart.InputNorm, "in"), Scale(SaePart.OutputNorm, "out"));
        Multiply(s.EncoderBias, 1 / inputScale);
        Multiply(s.DecoderScale, inputScale / outputScale);
        Multiply(s.DecoderBias, 1 / outputScale);

        double Scale(SaePart part, string key) => Math.Sqrt(s.D) / (s.Part(part) is { } norm
            ? norm[0] > 0 ? norm[0] : throw Bad(s, $"its mean activation norm is {Text(norm[0])}, expected a positive number")
            : s.Config.RequirePositive($"dataset_average_activation_norm.{key}"));
    });

    /// <summary>
    /// Activations compared and counted in units of their decoder row's norm n_j = ‖d_j‖: w_j *= n_j, b_enc_j *= n_j, d_j /= n_j.
    /// A feature with n_j = 0 writes nothing; it is switched off, which the original arithmetic (0/0) leaves undefined.
    /// </summary>
    public static readonly SaeStep DecoderNorm = new("decoder rows brought to norm 1, the norms folded into W_enc and b_enc", s =>
    {
        var norms = s.DecoderNorms();
        var silent = 0;
        for (var j = 0; j < s.F; j++)
        {
            s.EncoderScale[j] *= norms[j];
            s.EncoderBias[j] *= norms[j];
            s.DecoderScale[j] = norms[j] > 0 ? s.DecoderScale[j] / norms[j] : 0;
            silent += norms[j] > 0 ? 0 : 1;
        }

        if (silent > 0)
        {
            s.Notes.Add($"{silent} features with a decoder row of zeros switched off");
        }
    }) { Reads = SaePart.Decoder };

    /// <summary>The encoder sees c·x and the output is divided by c: w_j *= c, d_j /= c, b_dec /= c (SAELens' expected_average_only_in).</summary>
    public static readonly SaeStep InputScale = new("input scale of the training data folded into W_enc, W_dec and b_dec", s =>
    {
        var c = s.InputScale ?? throw new YapoException(
            YapoErrorKind.InvalidArgument,
            $"{s.Path}: it was trained on activations scaled to a mean norm of √d_model and the file does not say by how much; give --input-scale C, C = √{s.D} / mean norm of the residual at its layer");
        Multiply(s.EncoderScale, c);
        Multiply(s.DecoderScale, 1 / c);
        Multiply(s.DecoderBias, 1 / c);
        s.Notes.Add($"input scale {Text(c)}");
    });

    /// <summary>The encoder sees x − b_dec: b_enc_j −= w_j · b_dec.</summary>
    public static readonly SaeStep SubtractDecoderBias = new("b_dec is subtracted from the input: folded into b_enc", s =>
    {
        if (s.DecoderBias.All(x => x == 0))
        {
            return;
        }

        var products = s.EncoderProducts(s.DecoderBias);
        for (var j = 0; j < s.F; j++)
        {
            s.EncoderBias[j] -= products[j];
        }
    }) { Reads = SaePart.Encoder };

    /// <summary>
    /// Gated SAE: u = x·w, z = [u + b_gate &gt; 0] · relu(e^r·u + b_mag). Both depend on u alone and e^r &gt; 0, so the gate opens exactly where
    /// m = e^r·u + b_mag exceeds t = b_mag − e^r·b_gate: z = relu(m) · [m &gt; max(0, t)], a JumpReLU with w_j *= e^r, b_enc = b_mag and that threshold.
    /// </summary>
    public static readonly SaeStep Gate = new("gate and magnitude merged into one JumpReLU: W_enc *= exp(r_mag), b_enc = b_mag, threshold = max(0, b_mag - exp(r_mag) * b_gate)", s =>
    {
        var (gate, log) = (s.Part(SaePart.GateBias)!, s.Part(SaePart.LogMagnitude)!);
        s.Threshold = new double[s.F];
        for (var j = 0; j < s.F; j++)
        {
            var scale = Math.Exp(log[j]);
            s.EncoderScale[j] *= scale;
            s.Threshold[j] = Math.Max(0, s.EncoderBias[j] - (scale * gate[j]));
        }
    });

    /// <summary>threshold = e^log_threshold.</summary>
    public static readonly SaeStep ExponentialThreshold = new("threshold = exp(log threshold)", s =>
    {
        if (s.Part(SaePart.LogThreshold) is { } log)
        {
            s.Threshold = [.. log.Select(Math.Exp)];
        }
    });

    /// <summary>Early SAELens files multiply activations by a factor; published ones hold ones.</summary>
    public static readonly SaeStep DropScalingFactor = new("", s =>
    {
        if (s.Part(SaePart.ScalingFactor) is { } factors)
        {
            var other = Array.FindIndex(factors, x => Math.Abs(x - 1) > 1e-5);
            s.Notes.Add(other < 0 ? "scaling_factor of ones dropped" : throw new YapoException(
                YapoErrorKind.Unsupported, $"{s.Path}: scaling_factor[{other}] is {Text(factors[other])}; only files without fine-tuned scaling (all ones) are supported"));
        }
    });

    /// <summary>One threshold for all features, from the config.</summary>
    public static SaeStep ConstantThreshold(string key) => new($"{key} of the config is every feature's threshold", s =>
    {
        var value = s.Config.Real(key) ?? throw new YapoException(YapoErrorKind.Format, $"{s.Config.Path}: '{key}' is missing");
        s.Threshold = new double[s.F];
        Array.Fill(s.Threshold, value);
    });

    /// <summary>Something that depends on the row in a way that no weights can express.</summary>
    public static SaeStep Refuse(string reason) => new(reason, s => throw new YapoException(YapoErrorKind.Unsupported, $"{s.Path}: {reason}"));

    private static void Multiply(double[] values, double factor)
    {
        for (var i = 0; i < values.Length; i++)
        {
            values[i] *= factor;
        }
    }

    private static string Text(double x) => x.ToString(CultureInfo.InvariantCulture);

    private static YapoException Bad(SaeFolding s, string message) => new(YapoErrorKind.Format, $"{s.Path}: {message}");
}

namespace YaPO.Llama.Sae.Formats;

/// <summary>The parts that published SAEs are made of. D = d_model, F = width; x is the residual row.</summary>
internal enum SaePart
{
    /// <summary>Encoder weights: one vector of D per feature.</summary>
    Encoder,

    /// <summary>Decoder weights: one vector of D per feature.</summary>
    Decoder,

    /// <summary>[F], added to the encoder's product.</summary>
    EncoderBias,

    /// <summary>[D], added to the decoder's product.</summary>
    DecoderBias,

    /// <summary>[F] or one for all: a feature fires above it.</summary>
    Threshold,

    /// <summary>The same as its natural logarithm.</summary>
    LogThreshold,

    /// <summary>[F] of a gated SAE: bias of the gate; the gate is open where x·w + it &gt; 0.</summary>
    GateBias,

    /// <summary>[F] of a gated SAE: the magnitude is relu(e^r · x·w + b_mag); this is r.</summary>
    LogMagnitude,

    /// <summary>[F] multiplying activations in early SAELens files; all ones or refused.</summary>
    ScalingFactor,

    /// <summary>One number: mean norm of the inputs in training.</summary>
    InputNorm,

    /// <summary>One number: mean norm of the outputs in training.</summary>
    OutputNorm,
}

/// <summary>One row of a format's table: where a part is found and how its axes lie.</summary>
/// <param name="Part">What it is.</param>
/// <param name="Axes">The source's axes in order: <c>FD</c>, <c>DF</c>, <c>F</c>, <c>D</c>, or empty for one number.</param>
/// <param name="Names">Names that the tensor goes by; the first that exists is taken. <c>{key}</c> stands for that text of the config.</param>
internal sealed record SaeTensor(SaePart Part, string Axes, params string[] Names)
{
    /// <summary>False: without it the file is refused; true: the part is zero (a bias) or absent.</summary>
    public bool Optional { get; init; }
}

namespace YaPO.Llama.Training.Optimization;

/// <summary>
/// AdamW (Loshchilov &amp; Hutter 2019, algorithm 2) on one parameter array, in double precision inside, F32 outside.
/// <code>
/// m ← β₁m + (1−β₁)g      v ← β₂v + (1−β₂)g²      m̂ = m/(1−β₁ᵗ)      v̂ = v/(1−β₂ᵗ)
/// θ ← θ − η·s·( m̂/(√v̂ + ε) + w·θ/s )     i.e. the decay is decoupled: θ ← (1 − ηw)·θ − η·s·m̂/(√v̂ + ε)
/// </code>
/// η learning rate, w weight decay, s an optional per-parameter scale of the step (see <see cref="Step"/>).
/// </summary>
public sealed class AdamW
{
    private readonly double[] _m;
    private readonly double[] _v;

    /// <summary>Creates the optimizer with zero moments.</summary>
    /// <exception cref="YapoException">A coefficient is out of its range.</exception>
    public AdamW(int parameters, double beta1 = 0.9, double beta2 = 0.999, double epsilon = 1e-8, double weightDecay = 0)
    {
        if (parameters < 1 || !(beta1 is >= 0 and < 1) || !(beta2 is >= 0 and < 1) || !(epsilon > 0) || !(weightDecay >= 0))
        {
            throw new YapoException(
                YapoErrorKind.InvalidArgument,
                $"AdamW over {parameters} parameters with beta1 {beta1}, beta2 {beta2}, epsilon {epsilon}, weight decay {weightDecay}: expected at least one parameter, betas in [0, 1), epsilon above 0, decay of at least 0");
        }

        (Beta1, Beta2, Epsilon, WeightDecay) = (beta1, beta2, epsilon, weightDecay);
        _m = new double[parameters];
        _v = new double[parameters];
    }

    /// <summary>Decay of the first moment.</summary>
    public double Beta1 { get; }

    /// <summary>Decay of the second moment.</summary>
    public double Beta2 { get; }

    /// <summary>Added to √v̂.</summary>
    public double Epsilon { get; }

    /// <summary>Decoupled weight decay.</summary>
    public double WeightDecay { get; }

    /// <summary>Steps taken so far (t above).</summary>
    public long Steps { get; private set; }

    /// <summary>
    /// One step: updates <paramref name="parameters"/> in place from <paramref name="gradient"/>. <paramref name="scale"/> multiplies each
    /// parameter's adaptive step (empty: 1 everywhere) and leaves the decay alone. A parameter with a zero scale keeps its value but for the decay.
    /// </summary>
    public void Step(Span<float> parameters, ReadOnlySpan<float> gradient, double learningRate, ReadOnlySpan<float> scale = default)
    {
        if (parameters.Length != _m.Length || gradient.Length != _m.Length || (scale.Length != 0 && scale.Length != _m.Length))
        {
            throw new ArgumentException($"expected {_m.Length} parameters and gradients, got {parameters.Length} and {gradient.Length} (scale {scale.Length})");
        }

        Steps++;
        var correction1 = 1 - Math.Pow(Beta1, Steps);
        var correction2 = 1 - Math.Pow(Beta2, Steps);
        for (var i = 0; i < parameters.Length; i++)
        {
            double g = gradient[i];
            _m[i] = (Beta1 * _m[i]) + ((1 - Beta1) * g);
            _v[i] = (Beta2 * _v[i]) + ((1 - Beta2) * g * g);
            var update = _m[i] / correction1 / (Math.Sqrt(_v[i] / correction2) + Epsilon);
            var s = scale.Length == 0 ? 1.0 : scale[i];
            parameters[i] = (float)((parameters[i] * (1 - (learningRate * WeightDecay))) - (learningRate * s * update));
        }
    }

    /// <summary>Writes steps and moments; <see cref="Load"/> restores exactly this state.</summary>
    public void Save(BinaryWriter writer)
    {
        writer.Write(_m.Length);
        writer.Write(Steps);
        foreach (var x in _m)
        {
            writer.Write(x);
        }

        foreach (var x in _v)
        {
            writer.Write(x);
        }
    }

    /// <summary>Reads what <see cref="Save"/> wrote.</summary>
    /// <exception cref="YapoException">The state is of another number of parameters.</exception>
    public void Load(BinaryReader reader)
    {
        var n = reader.ReadInt32();
        if (n != _m.Length)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"the optimizer state is for {n} parameters; this run has {_m.Length}");
        }

        Steps = reader.ReadInt64();
        for (var i = 0; i < n; i++)
        {
            _m[i] = reader.ReadDouble();
        }

        for (var i = 0; i < n; i++)
        {
            _v[i] = reader.ReadDouble();
        }
    }

    /// <summary>Scales <paramref name="gradient"/> so that its Euclidean norm is at most <paramref name="limit"/> (0: off); returns the norm before.</summary>
    public static double Clip(Span<float> gradient, double limit)
    {
        var sum = 0.0;
        foreach (var g in gradient)
        {
            sum += (double)g * g;
        }

        var norm = Math.Sqrt(sum);
        if (limit > 0 && norm > limit)
        {
            var factor = limit / norm;
            for (var i = 0; i < gradient.Length; i++)
            {
                gradient[i] = (float)(gradient[i] * factor);
            }
        }

        return norm;
    }
}

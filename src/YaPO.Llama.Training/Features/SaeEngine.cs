using System.Runtime.CompilerServices;
using YaPO.Llama.Interop;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Training.Features;

/// <summary>What a step or an evaluation of an SAE reports.</summary>
/// <param name="Loss">Unexplained variance + sparsity·L0.</param>
/// <param name="ExplainedVariance">1 − Σ‖h − ĥ‖² / Σ‖h − mean‖².</param>
/// <param name="L0">Mean number of active latents per row.</param>
public readonly record struct SaeStep(double Loss, double ExplainedVariance, double L0);

/// <summary>Gradients of the SAE's loss, in the shapes of <see cref="SaeWeights"/> (enc, dec [F, D], biases [F], decoder bias [D]); the threshold's is with respect to log θ.</summary>
public sealed record SaeGradient(float[] Enc, float[] EncBias, float[] LogThreshold, float[] Dec, float[] DecBias);

/// <summary>Settings of <see cref="SaeEngine"/>.</summary>
public sealed record SaeEngineOptions
{
    /// <summary>Width D of the residual stream.</summary>
    public required int ModelWidth { get; init; }

    /// <summary>Number F of latents.</summary>
    public required int Latents { get; init; }

    /// <summary>Threads; never changes the result.</summary>
    public int Workers { get; init; } = 1;

    /// <summary>Decay of Adam's first moment.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of Adam's second moment.</summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>Width of the rectangle kernel of the threshold's straight-through gradient, in units of pre-activations.</summary>
    public double Bandwidth { get; init; } = 0.1;

    /// <summary>Largest global gradient norm; 0 turns clipping off.</summary>
    public double GradientClip { get; init; } = 1;

    /// <summary>Learning rate of log θ, relative to that of the other parameters.</summary>
    public double ThresholdRate { get; init; } = 1;

    /// <summary>0: JumpReLU. Otherwise the k largest pre-activations of a row are active, through a ReLU; there are no thresholds.</summary>
    public int TopK { get; init; }

    /// <summary>Threshold θ that every latent starts with.</summary>
    public double InitialThreshold { get; init; } = 0.1;

    /// <summary>Decides the initial decoder.</summary>
    public ulong Seed { get; init; }
}

/// <summary>A JumpReLU SAE with its Adam moments in libyapo (yapo_sae_* of yapo_train.h).</summary>
public sealed class SaeEngine : IDisposable
{
    private readonly SaeTrainerHandle _handle;
    private readonly int _d;
    private readonly int _f;

    /// <summary>Creates unit decoder rows drawn from the seed and their transpose as encoder, around <paramref name="mean"/> [D].</summary>
    public SaeEngine(SaeEngineOptions options, ReadOnlySpan<float> mean)
    {
        (_d, _f) = (options.ModelWidth, options.Latents);
        if (mean.Length != _d)
        {
            throw new ArgumentException($"the mean has {mean.Length} entries; the residual stream has {_d}", nameof(mean));
        }

        var native = new yapo_sae_options { struct_size = (uint)Unsafe.SizeOf<yapo_sae_options>() };
        NativeMethods.yapo_sae_default_options(ref native);
        native.d_model = _d;
        native.f = _f;
        native.n_workers = options.Workers;
        native.beta1 = (float)options.Beta1;
        native.beta2 = (float)options.Beta2;
        native.bandwidth = (float)options.Bandwidth;
        native.gradient_clip = (float)options.GradientClip;
        native.seed = options.Seed;
        native.threshold_rate = (float)options.ThresholdRate;
        native.k = options.TopK;
        NativeMethods.yapo_sae_create(native, mean, (float)options.InitialThreshold, out _handle, out var error).Check(error);
    }

    /// <summary>One Adam step on rows [N, D].</summary>
    public SaeStep TrainStep(ReadOnlySpan<float> rows, double learningRate, double sparsity)
    {
        var step = NewStep();
        NativeMethods.yapo_sae_train_step(_handle, rows, Rows(rows), (float)learningRate, (float)sparsity, ref step, out var error).Check(error);
        return Report(step);
    }

    /// <summary>Loss and gradients without a step.</summary>
    public (SaeStep Step, SaeGradient Gradient) Gradient(ReadOnlySpan<float> rows, double sparsity)
    {
        var step = NewStep();
        var g = new SaeGradient(new float[_f * _d], new float[_f], new float[_f], new float[_f * _d], new float[_d]);
        NativeMethods.yapo_sae_gradient(_handle, rows, Rows(rows), (float)sparsity, ref step, g.Enc, g.EncBias, g.LogThreshold, g.Dec, g.DecBias, out var error).Check(error);
        return (Report(step), g);
    }

    /// <summary>
    /// Forward only; <paramref name="fired"/> [F] (or empty) receives in how many rows each latent was active, <paramref name="largest"/> [F] (or empty)
    /// its largest activation.
    /// </summary>
    public SaeStep Evaluate(ReadOnlySpan<float> rows, Span<long> fired = default, Span<float> largest = default)
    {
        if ((fired.Length != 0 && fired.Length != _f) || (largest.Length != 0 && largest.Length != _f))
        {
            throw new ArgumentException($"{fired.Length} counters and {largest.Length} maxima for {_f} latents", nameof(fired));
        }

        var step = NewStep();
        NativeMethods.yapo_sae_evaluate(_handle, rows, Rows(rows), ref step, fired, largest, out var error).Check(error);
        return Report(step);
    }

    /// <summary>Rows that each latent has been trained on since it was last active or resampled, [F].</summary>
    public void Quiet(Span<long> rows)
    {
        if (rows.Length != _f)
        {
            throw new ArgumentException($"{rows.Length} counters for {_f} latents", nameof(rows));
        }

        NativeMethods.yapo_sae_quiet(_handle, rows, out var error).Check(error);
    }

    /// <summary>Squared reconstruction error of every row.</summary>
    public float[] RowErrors(ReadOnlySpan<float> rows)
    {
        var errors = new float[Rows(rows)];
        NativeMethods.yapo_sae_row_errors(_handle, rows, errors.Length, errors, out var error).Check(error);
        return errors;
    }

    /// <summary>Points each latent at what is missing from the reconstruction of its row, and clears its moments.</summary>
    public void Resample(ReadOnlySpan<int> latents, ReadOnlySpan<float> rows)
    {
        if (rows.Length != (long)latents.Length * _d)
        {
            throw new ArgumentException($"{latents.Length} latents need {(long)latents.Length * _d} values, got {rows.Length}", nameof(rows));
        }

        NativeMethods.yapo_sae_resample(_handle, latents, rows, latents.Length, out var error).Check(error);
    }

    /// <summary>The weights in the convention of SAE files: pre = enc·h + b, the decoder bias is not subtracted first.</summary>
    public SaeWeights Weights()
    {
        var (enc, encBias, threshold, dec, decBias) = (new float[_f * _d], new float[_f], new float[_f], new float[_f * _d], new float[_d]);
        NativeMethods.yapo_sae_weights(_handle, enc, encBias, threshold, dec, decBias, out var error).Check(error);
        return new SaeWeights(enc, encBias, threshold, dec, decBias);
    }

    /// <summary>Goes on from existing weights; moments and step count are cleared.</summary>
    public void SetWeights(SaeWeights weights)
    {
        if (weights.Enc.Length != _f * _d || weights.Dec.Length != _f * _d || weights.EncBias.Length != _f || weights.Threshold.Length != _f || weights.DecBias.Length != _d)
        {
            throw new ArgumentException($"the weights are not of {_f} latents of width {_d}", nameof(weights));
        }

        NativeMethods.yapo_sae_set_weights(_handle, weights.Enc.Span, weights.EncBias.Span, weights.Threshold.Span, weights.Dec.Span, weights.DecBias.Span, out var error).Check(error);
    }

    /// <summary>Writes weights, moments and step count, atomically.</summary>
    public void SaveState(string path) => NativeMethods.yapo_sae_save_state(_handle, path, out var error).Check(error);

    /// <summary>Restores exactly what <see cref="SaveState"/> wrote.</summary>
    public void LoadState(string path) => NativeMethods.yapo_sae_load_state(_handle, path, out var error).Check(error);

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private static yapo_sae_step NewStep() => new() { struct_size = (uint)Unsafe.SizeOf<yapo_sae_step>() };

    private static SaeStep Report(in yapo_sae_step step) => new(step.loss, step.explained_variance, step.l0);

    private long Rows(ReadOnlySpan<float> rows) => rows.Length % _d == 0
        ? rows.Length / _d
        : throw new ArgumentException($"{rows.Length} values are not whole rows of {_d}");
}

namespace YaPO.Llama.Training.Vectors;

/// <summary>Settings of <see cref="VectorOptimizer"/>: everything that decides the numbers of a trained vector.</summary>
public sealed record VectorOptimizerOptions
{
    /// <summary>Optimizer steps before sparsification.</summary>
    public int Steps { get; init; } = 60;

    /// <summary>Pairs per step.</summary>
    public int BatchSize { get; init; } = 16;

    /// <summary>
    /// Peak learning rate, in units of each coordinate's scale per step: a latent's mean activation where it fires (sparse) or the root mean square of
    /// the residual stream's entries (dense). Adam moves a coordinate by about this much per step, so one rate fits models of any scale.
    /// <para>Measured on the demo world's validation sets (egypt, K = 256, 60 + 50 steps): at strengths 0.3, 0.5 and 1 the trained culture is preferred in 75, 91 and 95 % of the questions
    /// (unsteered 20 %) and 100, 100 and 95 % of the knowledge stays. Rate 0.01 for 100 + 50 steps at strength 1: 87 % and 90 %, ‖Δh‖/‖h‖ = 1.2: more only breaks things.</para>
    /// </summary>
    public double LearningRate { get; init; } = 0.002;

    /// <summary>Steps of linear warm-up; at most <see cref="Steps"/>.</summary>
    public int WarmupSteps { get; init; } = 10;

    /// <summary>Decoupled weight decay (the public code declares 0.05 and never applies it).</summary>
    public double WeightDecay { get; init; }

    /// <summary>β of the loss.</summary>
    public double Beta { get; init; } = 0.1;

    /// <summary>Largest gradient norm; 0: off.</summary>
    public double GradientClip { get; init; } = 1;

    /// <summary>L1 penalty, applied as a proximal step of learning rate · this · scale; 0: off.</summary>
    public double L1 { get; init; }

    /// <summary>Entries that are kept; 0 keeps all and skips the refit. Ignored for dense vectors.</summary>
    public int MaxFeatures { get; init; } = 256;

    /// <summary>Steps of the refit on the fixed support.</summary>
    public int RefitSteps { get; init; } = 50;

    /// <summary>Decides data order and directions.</summary>
    public ulong Seed { get; init; }

    /// <summary>Steps between validations; used when there are validation pairs.</summary>
    public int ValidateEvery { get; init; } = 10;

    /// <summary>Validations without improvement that end a phase early; 0: never.</summary>
    public int Patience { get; init; } = 5;

    internal void Validate()
    {
        if (Steps < 1 || BatchSize < 1 || RefitSteps < 0 || MaxFeatures < 0 || WarmupSteps < 0 || ValidateEvery < 1 || Patience < 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "steps, batch size and validation interval must be at least 1; refit steps, maximum features, warm-up and patience at least 0");
        }

        if (!(LearningRate > 0) || !double.IsFinite(LearningRate))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"learning rate {LearningRate} must be finite and above 0");
        }

        if (!(Beta > 0) || !double.IsFinite(Beta) || !(L1 >= 0) || !(GradientClip >= 0) || !(WeightDecay >= 0))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "beta must be above 0; L1, gradient clip and weight decay at least 0");
        }
    }
}

/// <summary>What sparsification cost, on the validation pairs where there are some, else on training pairs; all at direction +1.</summary>
/// <param name="Features">Non-zero entries before.</param>
/// <param name="Kept">Entries kept.</param>
/// <param name="Before">Outcome with all entries.</param>
/// <param name="Pruned">Outcome right after pruning.</param>
/// <param name="Refitted">Outcome after the refit.</param>
public sealed record SparsificationReport(int Features, int Kept, PreferenceResult Before, PreferenceResult Pruned, PreferenceResult Refitted);

/// <summary>A trained vector before it becomes a file.</summary>
/// <param name="Latents">Its coordinates.</param>
/// <param name="Value">v, one entry per coordinate.</param>
/// <param name="Steps">Steps run.</param>
/// <param name="Last">Outcome of the last training step.</param>
/// <param name="Validation">Outcome on the validation pairs (or null), at direction +1.</param>
/// <param name="DivergedAt">The step at which training diverged and the best validated vector was taken; 0: it did not.</param>
/// <param name="Sparsification">What pruning cost; null where nothing was pruned.</param>
public sealed record OptimizedVector(LatentSet Latents, float[] Value, long Steps, PreferenceResult Last, PreferenceResult? Validation, long DivergedAt, SparsificationReport? Sparsification);

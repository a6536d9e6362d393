namespace YaPO.Llama.Training.Optimization;

/// <summary>
/// Learning rate with a linear warm-up and a cosine decay.
/// <para>Step s is zero-based. s &lt; W: peak·(s+1)/W. Else with p = (s−W)/(S−W): peak·(f + (1−f)·(1+cos πp)/2), where S is the number of
/// steps, W of warm-up steps, f the fraction of the peak that is left at the end.</para>
/// </summary>
public sealed record CosineSchedule
{
    /// <summary>Creates the schedule.</summary>
    /// <param name="peak">Highest rate, reached at the end of the warm-up; finite and positive.</param>
    /// <param name="steps">Steps in all; at least 1.</param>
    /// <param name="warmupSteps">Steps of the linear warm-up; 0 to <paramref name="steps"/>.</param>
    /// <param name="finalFraction">Fraction of the peak at the end, in [0, 1].</param>
    /// <exception cref="YapoException">A value is out of its range.</exception>
    public CosineSchedule(double peak, int steps, int warmupSteps = 0, double finalFraction = 0)
    {
        if (!double.IsFinite(peak) || peak <= 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"learning rate {peak} must be finite and positive");
        }

        if (steps < 1 || warmupSteps < 0 || warmupSteps > steps)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"a schedule of {steps} steps with {warmupSteps} of warm-up: steps must be at least 1 and warm-up between 0 and steps");
        }

        if (!(finalFraction is >= 0 and <= 1))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"final learning-rate fraction {finalFraction} must be between 0 and 1");
        }

        (Peak, Steps, WarmupSteps, FinalFraction) = (peak, steps, warmupSteps, finalFraction);
    }

    /// <summary>Highest rate.</summary>
    public double Peak { get; }

    /// <summary>Steps in all.</summary>
    public int Steps { get; }

    /// <summary>Steps of linear warm-up.</summary>
    public int WarmupSteps { get; }

    /// <summary>Fraction of the peak left at the end.</summary>
    public double FinalFraction { get; }

    /// <summary>The rate of zero-based step <paramref name="step"/>; after the last step the final rate.</summary>
    public double At(int step)
    {
        if (step < WarmupSteps)
        {
            return Peak * (step + 1) / WarmupSteps;
        }

        var progress = Steps == WarmupSteps ? 1.0 : Math.Min(1.0, (double)(step - WarmupSteps) / (Steps - WarmupSteps));
        return Peak * (FinalFraction + ((1 - FinalFraction) * 0.5 * (1 + Math.Cos(Math.PI * progress))));
    }
}

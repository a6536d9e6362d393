using System.Diagnostics;

namespace YaPO.Llama.Training.Progress;

/// <summary>Where a training run stands after a step.</summary>
/// <param name="Step">Steps done, 1-based.</param>
/// <param name="TotalSteps">Steps of the whole run.</param>
/// <param name="Loss">Loss of this step.</param>
/// <param name="LearningRate">Rate of this step.</param>
/// <param name="Elapsed">Time spent, earlier runs that were resumed included.</param>
/// <param name="Remaining">Estimated from recent steps.</param>
/// <param name="Details">One short phrase with what else matters for this kind of training.</param>
public sealed record TrainingProgress(long Step, long TotalSteps, double Loss, double LearningRate, TimeSpan Elapsed, TimeSpan Remaining, string Details);

/// <summary>Measures elapsed time and estimates what remains from a moving average of step times.</summary>
internal sealed class TrainingClock(double earlierSeconds)
{
    private const double Smoothing = 0.05;
    private readonly Stopwatch _watch = Stopwatch.StartNew();
    private double _last;
    private double _perStep;
    private long _ticks;

    public double Seconds => earlierSeconds + _watch.Elapsed.TotalSeconds;

    public TimeSpan Elapsed => TimeSpan.FromSeconds(Seconds);

    /// <summary>Seconds of the step that ends now.</summary>
    public double Tick()
    {
        var now = _watch.Elapsed.TotalSeconds;
        var step = now - _last;
        _last = now;
        _ticks++;
        _perStep = _perStep == 0 ? step : ((1 - Smoothing) * _perStep) + (Smoothing * step);
        return step;
    }

    /// <summary>From the mean over this run, for jobs whose steps differ much: some wait for their data to be computed.</summary>
    public TimeSpan RemainingByMean(long steps) => TimeSpan.FromSeconds(_ticks == 0 ? 0 : _watch.Elapsed.TotalSeconds / _ticks * steps);

    public TimeSpan Remaining(long steps) => TimeSpan.FromSeconds(_perStep * steps);
}

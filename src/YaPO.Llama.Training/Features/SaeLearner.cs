using YaPO.Llama.IO;
using YaPO.Llama.Sae;
using YaPO.Llama.Training.Optimization;

namespace YaPO.Llama.Training.Features;

/// <summary>
/// One SAE in training: normalizes rows, follows the learning-rate schedule, steers the sparsity penalty towards the wanted L0 and resamples dead latents.
/// <para>Rows are divided by s, the standard deviation of their entries around the mean, so that learning rate, threshold and bandwidth mean the
/// same for every model; <see cref="Weights"/> undoes it. The penalty λ follows the L0 seen: λ ← λ·exp(κ·ln(L0 / wanted)), clamped per step.</para>
/// </summary>
internal sealed class SaeLearner : IDisposable
{
    private const double Gain = 0.02;
    private const double MostGain = 0.02;
    private const double ThresholdRate = 5; // log θ must follow the target within a few hundred steps
    private const double Smoothing = 0.1;
    private const double ResampleUntil = 0.7;
    private readonly SaeTrainingOptions _options;
    private readonly SaeEngine _engine;
    private readonly CosineSchedule _schedule;
    private readonly int _d;
    private readonly float _scale;
    private readonly float[] _buffer;
    private readonly long[] _fired;
    private readonly long[] _now;
    private double _sparsity;
    private double _l0;

    /// <summary>Starts an SAE from rows that represent the data (at least a few hundred).</summary>
    public SaeLearner(SaeTrainingOptions options, ReadOnlySpan<float> rows, int modelWidth, int workers)
    {
        (_options, _d) = (options, modelWidth);
        (Mean, _scale) = Moments(rows, modelWidth);
        _schedule = new CosineSchedule(options.LearningRate, options.Steps, (int)(options.WarmupShare * options.Steps), 0.02);
        _buffer = new float[options.BatchSize * modelWidth];
        _fired = new long[options.Latents];
        _now = new long[options.Latents];
        var normalizedMean = Array.ConvertAll(Mean, x => x / _scale);
        var engine = new SaeEngineOptions
        {
            ModelWidth = modelWidth,
            Latents = options.Latents,
            Workers = workers,
            Bandwidth = options.Bandwidth,
            ThresholdRate = ThresholdRate,
            Seed = options.Seed,
        };
        engine = engine with { InitialThreshold = InitialThreshold(engine, normalizedMean, rows) };
        _engine = new SaeEngine(engine, normalizedMean);
        _sparsity = 0.02 / options.TargetL0;
        _l0 = options.TargetL0 * options.InitialL0Factor;
    }

    /// <summary>Mean row [D].</summary>
    public float[] Mean { get; }

    /// <summary>Current penalty per active latent, in units of the rows' variance.</summary>
    public double Sparsity => _sparsity;

    /// <summary>Latents resampled so far.</summary>
    public int Resampled { get; private set; }

    /// <summary>Rate of a step.</summary>
    public double LearningRate(int step) => _schedule.At(step);

    /// <summary>One optimizer step on rows [N, D], N the batch size.</summary>
    public SaeStep Step(int step, ReadOnlySpan<float> rows)
    {
        Normalize(rows, _buffer);
        var result = _engine.TrainStep(_buffer, _schedule.At(step), _sparsity);
        if (!double.IsFinite(result.Loss))
        {
            throw new YapoException(YapoErrorKind.Failed, $"the SAE's loss is not finite at step {step + 1}; lower the learning rate (now {_options.LearningRate})");
        }

        _l0 = ((1 - Smoothing) * _l0) + (Smoothing * result.L0);
        var gain = Math.Clamp(Gain * Math.Log(Math.Max(_l0, 1e-3) / Wanted(step)), -MostGain, MostGain);
        _sparsity = Math.Clamp(_sparsity * Math.Exp(gain), 1e-8, 1);
        Resample(step);
        return result;
    }

    /// <summary>Explained variance and L0 on rows [N, D].</summary>
    public SaeStep Evaluate(ReadOnlySpan<float> rows)
    {
        var normalized = new float[rows.Length];
        Normalize(rows, normalized);
        return _engine.Evaluate(normalized);
    }

    /// <summary>The weights for rows as they come.</summary>
    public SaeWeights Weights()
    {
        var w = _engine.Weights();
        return new SaeWeights(w.Enc, Times(w.EncBias), Times(w.Threshold), w.Dec, Times(w.DecBias));

        float[] Times(ReadOnlyMemory<float> values) => Array.ConvertAll(values.ToArray(), x => x * _scale);
    }

    /// <summary>Writes the whole state; files beside <paramref name="path"/> carry its name.</summary>
    public void Save(string path)
    {
        _engine.SaveState(path + ".weights");
        AtomicFile.Write(path, stream =>
        {
            using var writer = new BinaryWriter(stream, System.Text.Encoding.UTF8, leaveOpen: true);
            writer.Write(_sparsity);
            writer.Write(_l0);
            writer.Write(Resampled);
            foreach (var n in _fired)
            {
                writer.Write(n);
            }
        });
    }

    /// <summary>Restores what <see cref="Save"/> wrote.</summary>
    public void Load(string path)
    {
        _engine.LoadState(path + ".weights");
        using var stream = InputFile.Open(path);
        using var reader = new BinaryReader(stream);
        try
        {
            _sparsity = reader.ReadDouble();
            _l0 = reader.ReadDouble();
            Resampled = reader.ReadInt32();
            for (var j = 0; j < _fired.Length; j++)
            {
                _fired[j] = reader.ReadInt64();
            }
        }
        catch (EndOfStreamException e)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path} ends early", e);
        }
    }

    public void Dispose() => _engine.Dispose();

    /// <summary>The L0 wanted at a step: falls geometrically to the target during the sparsity warm-up.</summary>
    private double Wanted(int step)
    {
        var warmup = _options.SparsityWarmupShare * _options.Steps;
        var progress = warmup <= 0 ? 1 : Math.Min(1, step / warmup);
        return _options.TargetL0 * Math.Pow(_options.InitialL0Factor, 1 - progress);
    }

    /// <summary>Points latents that fired nowhere in the last rows looked at to the worst-reconstructed rows of this batch.</summary>
    private void Resample(int step)
    {
        var every = _options.ResampleEvery;
        if (every == 0 || step > ResampleUntil * _options.Steps)
        {
            return;
        }

        // A sample of the steps is enough to tell a dead latent, and an evaluation costs as much as half a step.
        if ((step + 1) % Math.Max(1, every / 16) == 0)
        {
            _engine.Evaluate(_buffer, _now);
            for (var j = 0; j < _fired.Length; j++)
            {
                _fired[j] += _now[j];
            }
        }

        if ((step + 1) % every != 0)
        {
            return;
        }

        var dead = Enumerable.Range(0, _fired.Length).Where(j => _fired[j] == 0).Take(_options.BatchSize / 8).ToArray();
        Array.Clear(_fired);
        if (dead.Length == 0)
        {
            return;
        }

        var errors = _engine.RowErrors(_buffer);
        var worst = Enumerable.Range(0, errors.Length).OrderByDescending(r => errors[r]).ThenBy(r => r).Take(dead.Length).ToArray();
        var rows = new float[dead.Length * _d];
        for (var k = 0; k < dead.Length; k++)
        {
            _buffer.AsSpan(worst[k] * _d, _d).CopyTo(rows.AsSpan(k * _d));
        }

        _engine.Resample(dead, rows);
        Resampled += dead.Length;
    }

    private void Normalize(ReadOnlySpan<float> rows, Span<float> target)
    {
        for (var i = 0; i < rows.Length; i++)
        {
            target[i] = rows[i] / _scale;
        }
    }

    /// <summary>The threshold at which the initial encoder gives the wanted initial L0 on a sample.</summary>
    private double InitialThreshold(SaeEngineOptions options, float[] mean, ReadOnlySpan<float> rows)
    {
        using var draft = new SaeEngine(options with { InitialThreshold = 1 }, mean);
        var w = draft.Weights();
        var sample = new float[Math.Min(rows.Length, 512 * _d)];
        Normalize(rows[..sample.Length], sample);
        var never = new float[_options.Latents];
        var z = LatentStatistics.Encode(w.Enc.Span, w.EncBias.Span, never, sample, _d, options.Workers);
        Array.Sort(z);
        var active = Math.Min(0.5, _options.InitialL0Factor * _options.TargetL0 / _options.Latents);
        return Math.Max(1e-3, z[(int)((1 - active) * (z.Length - 1))]);
    }

    private static (float[] Mean, float Scale) Moments(ReadOnlySpan<float> rows, int d)
    {
        var n = rows.Length / d;
        if (n < 64)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{n} rows are too few to start an SAE; expected at least 64");
        }

        var sum = new double[d];
        for (var i = 0; i < n * d; i++)
        {
            sum[i % d] += rows[i];
        }

        var mean = Array.ConvertAll(sum, x => (float)(x / n));
        var squares = 0.0;
        for (var i = 0; i < n * d; i++)
        {
            var x = (double)rows[i] - mean[i % d];
            squares += x * x;
        }

        var scale = (float)Math.Sqrt(squares / n / d);
        return scale > 0 && float.IsFinite(scale)
            ? (mean, scale)
            : throw new YapoException(YapoErrorKind.Failed, $"the residuals have a standard deviation of {scale}; there is nothing to encode");
    }
}

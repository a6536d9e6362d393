using System.Runtime.InteropServices;
using YaPO.Llama.IO;
using YaPO.Llama.Sae;
using YaPO.Llama.Training.Optimization;

namespace YaPO.Llama.Training.Features;

/// <summary>What an SAE does on some rows.</summary>
/// <param name="ExplainedVariance">1 − Σ‖h − ĥ‖² / Σ‖h − mean‖².</param>
/// <param name="L0">Mean number of active latents per row.</param>
/// <param name="Rate">[F] share of rows in which a latent is active.</param>
/// <param name="Max">[F] its largest activation; 0 where it never fires.</param>
internal sealed record SaeMeasured(double ExplainedVariance, double L0, float[] Rate, float[] Max);

/// <summary>
/// One SAE in training: normalizes rows, follows the learning-rate schedule, steers the sparsity penalty towards the wanted L0 and resamples dead latents.
/// <para>Rows are divided by s, the standard deviation of their entries around the mean, so that learning rate, threshold and bandwidth mean the
/// same for every model; <see cref="Weights"/> undoes it. The penalty λ follows the L0 seen: λ ← λ·exp(κ·ln(L0 / wanted)), clamped per step.</para>
/// <para>Dead latents are resampled, for TopK as for JumpReLU. AuxK, the auxiliary loss of Gao et al. 2024 (α 1/32 and 1, 128 dead latents), was tried and left
/// out: on 29,000 tokens of the demo's text, 4096 latents, k 8, 300 steps of 256 rows, the held-out explained variance was 0.889 without either, 0.887 with
/// resampling and 0.889 with AuxK, and 725, 786 and 743 to 781 latents were silent on the last 16,384 rows.</para>
/// </summary>
internal sealed class SaeLearner : IDisposable
{
    private const double Gain = 0.02;
    private const double MostGain = 0.02;
    private const double ThresholdRate = 5; // log θ must follow the target within a few hundred steps
    private const double Smoothing = 0.1;
    private const double ResampleUntil = 0.7;
    private readonly SaeTrainingOptions _options;
    private readonly SaeEngineOptions _engineOptions;
    private readonly SaeEngine _engine;
    private readonly CosineSchedule _schedule;
    private readonly int _d;
    private readonly float _scale;
    private readonly float[] _buffer;
    private readonly long[] _quiet;
    private double _sparsity;
    private double _l0;

    private SaeLearner(SaeTrainingOptions options, float[] mean, float scale, int workers, Func<SaeEngineOptions, SaeEngineOptions> begin)
    {
        (_options, Mean, _scale, _d) = (options, mean, scale, mean.Length);
        _schedule = new CosineSchedule(options.LearningRate, options.Steps, (int)(options.WarmupShare * options.Steps), 0.02);
        _buffer = new float[options.BatchSize * _d];
        _quiet = new long[options.Latents];
        _engineOptions = begin(new SaeEngineOptions
        {
            ModelWidth = _d,
            Latents = options.Latents,
            Workers = workers,
            Bandwidth = options.Bandwidth,
            ThresholdRate = ThresholdRate,
            Seed = options.Seed,
            TopK = options.IsTopK ? options.TopK : 0,
        });
        _engine = new SaeEngine(_engineOptions, NormalizedMean);
        _sparsity = options.IsTopK ? 0 : 0.02 / options.TargetL0;
        _l0 = options.TargetL0 * options.InitialL0Factor;
    }

    /// <summary>Starts an SAE from rows that represent the data (at least a few hundred).</summary>
    public static SaeLearner Start(SaeTrainingOptions options, ReadOnlySpan<float> rows, int modelWidth, int workers)
    {
        var (mean, scale) = SaeStart.Moments(rows, modelWidth);
        var sample = rows[..Math.Min(rows.Length, 512 * modelWidth)].ToArray();
        for (var i = 0; i < sample.Length; i++)
        {
            sample[i] /= scale;
        }

        var learner = new SaeLearner(
            options, mean, scale, workers,
            engine => options.IsTopK ? engine : engine with { InitialThreshold = SaeStart.Threshold(options, engine, Array.ConvertAll(mean, x => x / scale), sample) });
        SaeStart.Scale(learner._engine, sample);
        return learner;
    }

    /// <summary>Restores what <see cref="Save"/> wrote.</summary>
    public static SaeLearner Resume(SaeTrainingOptions options, string path, int workers)
    {
        using var stream = InputFile.Open(path);
        using var reader = new BinaryReader(stream);
        try
        {
            var (sparsity, l0, resampled, scale) = (reader.ReadDouble(), reader.ReadDouble(), reader.ReadInt32(), reader.ReadSingle());
            var mean = new float[(stream.Length - stream.Position) / sizeof(float)];
            reader.BaseStream.ReadExactly(MemoryMarshal.AsBytes(mean.AsSpan()));
            var learner = new SaeLearner(options, mean, scale, workers, engine => engine) { _sparsity = sparsity, _l0 = l0, Resampled = resampled };
            learner._engine.LoadState(path + ".weights");
            return learner;
        }
        catch (EndOfStreamException e)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path} ends early", e);
        }
    }

    /// <summary>Mean row [D].</summary>
    public float[] Mean { get; }

    private float[] NormalizedMean => Array.ConvertAll(Mean, x => x / _scale);

    /// <summary>Current penalty per active latent, in units of the rows' variance.</summary>
    public double Sparsity => _sparsity;

    /// <summary>Latents resampled so far.</summary>
    public int Resampled { get; private set; }

    /// <summary>Latents silent in all of the last rows, as many as <see cref="SaeTrainingOptions.DeadAfter"/>.</summary>
    public int Dead { get; private set; }

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

        if (!_options.IsTopK)
        {
            _l0 = ((1 - Smoothing) * _l0) + (Smoothing * result.L0);
            var gain = Math.Clamp(Gain * Math.Log(Math.Max(_l0, 1e-3) / Wanted(step)), -MostGain, MostGain);
            _sparsity = Math.Clamp(_sparsity * Math.Exp(gain), 1e-8, 1);
        }

        _engine.Quiet(_quiet);
        Dead = _quiet.Count(rows => rows >= _options.DeadAfter);
        Resample(step);
        return result;
    }

    /// <summary>How the SAE does on rows [N, D], and how each latent acts there.</summary>
    public SaeMeasured Evaluate(ReadOnlySpan<float> rows) => Evaluate(_engine, rows);

    /// <summary>
    /// One threshold for all latents of a TopK SAE: the largest at which at least k latents per row are active on average over <paramref name="rows"/>
    /// (to 1/4096 of its value), as training over batches of rows would have it (Bussmann et al. 2024, BatchTopK).
    /// </summary>
    public float Threshold(ReadOnlySpan<float> rows)
    {
        const int drop = 11; // 20 bits of a positive float: its exponent and 12 bits of its fraction
        var histogram = new long[1 << (31 - drop)];
        var w = _engine.Weights();
        var never = new float[_options.Latents];
        var tile = Math.Max(1, (1 << 22) / _options.Latents);
        var normalized = new float[tile * _d];
        for (var start = 0; start < rows.Length; start += tile * _d)
        {
            var part = rows.Slice(start, Math.Min(tile * _d, rows.Length - start));
            Normalize(part, normalized);
            foreach (var z in LatentStatistics.Encode(w.Enc.Span, w.EncBias.Span, never, normalized.AsSpan(0, part.Length), _d, _engineOptions.Workers))
            {
                histogram[BitConverter.SingleToInt32Bits(z) >> drop]++;
            }
        }

        var wanted = (long)_options.TopK * (rows.Length / _d);
        var bin = histogram.Length - 1;
        for (var above = histogram[bin]; above < wanted && bin > 0; above += histogram[bin])
        {
            bin--;
        }

        return BitConverter.Int32BitsToSingle(bin << drop) * _scale;
    }

    /// <summary>The same on rows [N, D] when the weights carry thresholds (as <see cref="Weights"/> gives them).</summary>
    public SaeMeasured EvaluateWithThresholds(SaeWeights weights, ReadOnlySpan<float> rows)
    {
        using var engine = new SaeEngine(_engineOptions with { TopK = 0 }, NormalizedMean);
        engine.SetWeights(weights with { EncBias = Times(weights.EncBias, 1 / _scale), Threshold = Times(weights.Threshold, 1 / _scale), DecBias = Times(weights.DecBias, 1 / _scale) });
        return Evaluate(engine, rows);
    }

    /// <summary>The weights for rows as they come.</summary>
    public SaeWeights Weights()
    {
        var w = _engine.Weights();
        return new SaeWeights(w.Enc, Times(w.EncBias, _scale), Times(w.Threshold, _scale), w.Dec, Times(w.DecBias, _scale));
    }

    private static float[] Times(ReadOnlyMemory<float> values, float factor) => Array.ConvertAll(values.ToArray(), x => x * factor);

    private SaeMeasured Evaluate(SaeEngine engine, ReadOnlySpan<float> rows)
    {
        var normalized = new float[rows.Length];
        Normalize(rows, normalized);
        var (count, largest) = (new long[_options.Latents], new float[_options.Latents]);
        var step = engine.Evaluate(normalized, count, largest);
        var n = (float)(rows.Length / _d);
        return new SaeMeasured(step.ExplainedVariance, step.L0, Array.ConvertAll(count, c => c / n), Array.ConvertAll(largest, x => x * _scale));
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
            writer.Write(_scale);
            writer.Write(MemoryMarshal.AsBytes(Mean.AsSpan()));
        });
    }

    public void Dispose() => _engine.Dispose();

    /// <summary>The L0 wanted at a step: falls geometrically to the target during the sparsity warm-up.</summary>
    private double Wanted(int step)
    {
        var warmup = _options.SparsityWarmupShare * _options.Steps;
        var progress = warmup <= 0 ? 1 : Math.Min(1, step / warmup);
        return _options.TargetL0 * Math.Pow(_options.InitialL0Factor, 1 - progress);
    }

    /// <summary>Points dead latents, at most a quarter as many as the batch has rows, to the worst-reconstructed rows of this batch.</summary>
    private void Resample(int step)
    {
        var every = _options.ResampleEvery;
        if (every == 0 || step > ResampleUntil * _options.Steps)
        {
            return;
        }

        if ((step + 1) % every != 0)
        {
            return;
        }

        var dead = Enumerable.Range(0, _quiet.Length).Where(j => _quiet[j] >= _options.DeadAfter).Take(_options.BatchSize / 4).ToArray();
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
}

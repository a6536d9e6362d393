using System.Diagnostics;
using YaPO.Llama.Datasets;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Training.Features;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Residuals;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Training.Estimates;

/// <summary>What a run will take, measured on one pair of it.</summary>
/// <param name="Pairs">Training pairs.</param>
/// <param name="ValidationPairs">Validation pairs.</param>
/// <param name="Tokens">Of all sequences.</param>
/// <param name="LongestSequence">In tokens.</param>
/// <param name="ProbeTokens">Tokens of the measured pair.</param>
/// <param name="CaptureSeconds">Forward passes below the layer, all sequences.</param>
/// <param name="SecondsPerPair">Forward and backward through the upper blocks, all workers busy.</param>
/// <param name="SecondsPerStep">Batch size pairs.</param>
/// <param name="TrainingSeconds">All steps, references and validations; 0 for methods without optimization.</param>
/// <param name="Memory">Estimated from shapes.</param>
public sealed record SteeringEstimate(
    int Pairs, int ValidationPairs, long Tokens, int LongestSequence, int ProbeTokens, double CaptureSeconds, double SecondsPerPair, double SecondsPerStep, double TrainingSeconds, TrainingMemory Memory)
{
    /// <summary>Everything.</summary>
    public double TotalSeconds => CaptureSeconds + TrainingSeconds;

    /// <summary>Steps (of both phases) of so many pairs that fit into a time, with the capture and the references of the pairs they need.</summary>
    public int StepsWithin(double seconds, int batchSize)
    {
        // Each pair is captured and scored without steering once, when it first comes up.
        var once = (CaptureSeconds / Math.Max(1, Pairs + ValidationPairs)) + (SecondsPerPair / 3);
        if (SecondsPerPair <= 0)
        {
            return 0;
        }

        var perStep = batchSize * SecondsPerPair;
        var fit = (int)Math.Max(0, seconds / (perStep + (batchSize * once))); // all pairs new
        return (long)fit * batchSize <= Pairs ? fit : (int)Math.Max(0, (seconds - (Pairs * once)) / perStep);
    }
}

/// <summary><c>train --dry-run</c>: encodes all pairs, captures and differentiates one of middling length, and multiplies. Writes nothing.</summary>
public static class SteeringRehearsal
{
    /// <summary>Measures.</summary>
    /// <exception cref="YapoException">As <see cref="SteeringTrainer.Train"/> would refuse.</exception>
    public static SteeringEstimate Run(SteeringTrainingOptions options, CancellationToken cancellation = default)
    {
        options.Optimizer.Validate();
        var train = PreferencePair.Load(options.Data);
        var validation = options.ValidationData is null ? [] : PreferencePair.Load(options.ValidationData);
        var layers = TrainedLayer.Open(options, ModelFingerprint.Compute(options.Model));
        using var owned = new Disposables(layers);
        int[] blocks = [.. layers.Select(l => l.Layer)];
        var (sequences, _) = SteeringTrainer.Encode(options, train.Concat(validation), cancellation);
        options = SteeringTrainer.ForThisMachine(options, layers, sequences);
        var mean = sequences.Average(s => s.Tokens.Length);
        EncodedSequence[] probe = [.. sequences.Chunk(2).MinBy(p => Math.Abs((p[0].Tokens.Length + p[1].Tokens.Length) - (2 * mean)))!];
        LayerCapture captured;
        double captureSeconds;
        using (var model = LlamaModel.Load(options.Model, options.ModelOptions, null, cancellation))
        {
            LayerCapture.Run(model, blocks, probe, options.Threads, null, "", null, cancellation).Dispose(); // pages in
            var watch = Stopwatch.StartNew();
            captured = LayerCapture.Run(model, blocks, probe, options.Threads, null, "", null, cancellation);
            captureSeconds = watch.Elapsed.TotalSeconds;
        }

        owned.Add(captured);
        var tokens = sequences.Sum(s => (long)s.Tokens.Length);
        var probeTokens = probe.Sum(s => s.Tokens.Length);
        var optimizes = options.Method is SteeringMethod.Yapo or SteeringMethod.Bipo;
        var perPair = optimizes ? PairSeconds(options, layers, probe, captured, cancellation) : 0;
        var o = options.Optimizer;
        var steps = o.Steps + (options.Method == SteeringMethod.Yapo && o.MaxFeatures > 0 ? o.RefitSteps : 0);
        var validations = validation.Count == 0 ? 0 : steps / o.ValidateEvery;
        // A forward pass alone is a third of a gradient: references of all pairs once, validation pairs every so often.
        var trainingSeconds = perPair * ((steps * (double)o.BatchSize) + ((train.Count + validation.Count + (validations * (double)validation.Count)) / 3));
        var longest = sequences.Max(s => s.Tokens.Length);
        using var gguf = GgufFile.Open(options.Model);
        return new SteeringEstimate(
            train.Count, validation.Count, tokens, longest, probeTokens, captureSeconds * tokens / probeTokens, perPair, perPair * o.BatchSize, trainingSeconds,
            SteeringTrainer.Memory(gguf, options, layers, longest, tokens));
    }

    private static double PairSeconds(SteeringTrainingOptions options, TrainedLayer[] layers, EncodedSequence[] probe, LayerCapture captured, CancellationToken cancellation)
    {
        var weights = Array.ConvertAll(probe, s => s.Weights(options.Positions));
        foreach (var (i, layer) in layers.Index())
        {
            layer.Measure(captured.Stores[i], probe, weights, probe.Length, lowest: i == 0, options with { CheckpointFolder = null }, cancellation);
        }

        var latents = new LatentSet([.. layers.Select(l => (l.Layer, l.Coordinates().Rows))]);
        using var engine = options.Engine.Create(new PairEngineInput(options.Model, layers[0].Layer, probe, weights, layers[0].Residuals, layers[0].Codes, options.WorkerCount));
        var workers = engine.Workers;
        engine.SetLatents(latents);
        var v = new float[latents.Parameters];
        var gradients = Enumerable.Range(0, workers).Select(_ => new float[v.Length]).ToArray();
        double Round()
        {
            var watch = Stopwatch.StartNew();
            Parallel.For(0, workers, new ParallelOptions { MaxDegreeOfParallelism = workers, CancellationToken = cancellation }, w => engine.LogProbGradient(w, w % 2, v, 1, 1, gradients[w]));
            return watch.Elapsed.TotalSeconds;
        }

        Round(); // graphs are built, pages come in
        return Round() * 2 / workers;
    }
}

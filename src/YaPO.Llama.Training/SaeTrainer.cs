using System.Text.Json.Nodes;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Training.Checkpoints;
using YaPO.Llama.Training.Features;
using YaPO.Llama.Training.Progress;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Training;

/// <summary>
/// Trains a JumpReLU SAE (arXiv 2407.14435) on the residual stream of a model: text runs through llama.cpp block by block, rows are shuffled, BOS is left
/// out. Results are a function of the settings and the seed; a run that was killed goes on from its checkpoint to the same bytes.
/// </summary>
public static class SaeTrainer
{
    private const int Sequences = 16;
    private const int Parts = 64;

    /// <summary>Trains and writes the SAE file, with the firing rate and maximum of every latent.</summary>
    /// <exception cref="YapoException">Files or settings cannot be used.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; with a checkpoint folder, the state was saved first.</exception>
    public static SaeTrainingResult Train(
        SaeTrainingOptions options, Action<string>? status = null, Action<TrainingProgress>? progress = null, CancellationToken cancellation = default)
    {
        options.Validate();
        var identity = ModelFingerprint.Compute(options.Model);
        if (options.Layer < 0 || options.Layer >= identity.LayerCount)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"layer {options.Layer} is out of range: {options.Model} has blocks 0 … {identity.LayerCount - 1}");
        }

        var modelHash = InputFile.Sha256(options.Model, cancellation);
        var config = options.ToCanonicalJson();
        var folder = options.CheckpointFolder is null ? null : new CheckpointFolder(options.CheckpointFolder, "sae", CanonicalJson.Write(new JsonObject
        {
            ["config"] = JsonNode.Parse(config),
            ["model_sha256"] = modelHash,
            ["data_sha256"] = InputFile.Sha256(options.Data, cancellation),
        }));
        var checkpoint = folder?.LoadFor(options.Resume);

        using var model = LlamaModel.Load(options.Model, options.ModelOptions, null, cancellation);
        var (train, held) = Split(TextCorpus.Read(options.Data, model, options.MaxTokens), options);
        using var capture = new ResidualCapture(model, options.Layer, Math.Max(options.MaxTokens, 512), options.Threads, Sequences);
        var bos = model.Info.BosToken;
        var evaluation = LoadFirst(new RowBlocks(held, bos, options.EvaluationRows + options.MaxTokens, options.Seed), capture, cancellation);
        var blocks = new RowBlocks(train, bos, options.BlockRows, options.Seed);
        status?.Invoke($"training {options.Latents} latents on {options.Rows} rows ({(double)options.Rows / blocks.RowsPerEpoch:0.0} passes over the text) of layer {options.Layer}");

        var block = blocks.Next();
        var rows = blocks.Load(capture, block.Block, block.Windows, block.Rows, Sequences, cancellation);
        using var learner = new SaeLearner(options, rows, capture.Width, options.WorkerCount);
        var first = checkpoint?.Step ?? 0;
        if (checkpoint is not null)
        {
            learner.Load(checkpoint.StateFile);
        }

        var clock = new TrainingClock(checkpoint?.Seconds ?? 0);
        using var log = new TrainingLog(options.LogPath, first);
        var saved = clock.Seconds;
        var inBlock = 0;
        var loaded = true;
        try
        {
            for (var step = 0; step < options.Steps; step++, inBlock++)
            {
                cancellation.ThrowIfCancellationRequested();
                if (inBlock >= block.Rows / options.BatchSize)
                {
                    (block, inBlock, loaded) = (blocks.Next(), 0, false);
                }

                if (step < first)
                {
                    continue; // done before the checkpoint: only the place in the stream matters
                }

                if (!loaded)
                {
                    (rows, loaded) = (blocks.Load(capture, block.Block, block.Windows, block.Rows, Sequences, cancellation), true);
                }

                var batch = rows.AsSpan(inBlock * options.BatchSize * capture.Width, options.BatchSize * capture.Width);
                var result = learner.Step(step, batch);
                first = step + 1;
                log.Write(
                    first, ("loss", result.Loss), ("explained_variance", result.ExplainedVariance), ("l0", result.L0), ("sparsity", learner.Sparsity),
                    ("learning_rate", learner.LearningRate(step)), ("resampled", learner.Resampled), ("seconds", clock.Seconds));
                clock.Tick();
                progress?.Invoke(new TrainingProgress(
                    first, options.Steps, result.Loss, learner.LearningRate(step), clock.Elapsed, clock.Remaining(options.Steps - first),
                    string.Create(System.Globalization.CultureInfo.InvariantCulture, $"explained variance {result.ExplainedVariance:0.000}, L0 {result.L0:0.0}")));
                if (folder is not null && clock.Seconds - saved >= options.CheckpointSeconds)
                {
                    folder.Save(first, clock.Seconds, learner.Save);
                    saved = clock.Seconds;
                }
            }
        }
        catch (OperationCanceledException)
        {
            folder?.Save(first, clock.Seconds, learner.Save);
            throw;
        }

        folder?.Save(first, clock.Seconds, learner.Save);
        if (!loaded)
        {
            rows = blocks.Load(capture, block.Block, block.Windows, block.Rows, Sequences, cancellation);
        }

        return Write(options, identity, modelHash, config, learner, evaluation, rows, capture.Width, clock, cancellation);
    }

    private static SaeTrainingResult Write(
        SaeTrainingOptions options, ModelIdentity identity, string modelHash, string config, SaeLearner learner, float[] evaluation, float[] rows, int d, TrainingClock clock,
        CancellationToken cancellation)
    {
        var quality = learner.Evaluate(evaluation);
        var weights = learner.Weights();
        var statistics = LatentStatistics.Measure(
            (start, target) => weights.Enc.Span.Slice(start * d, target.Length).CopyTo(target), weights.EncBias.ToArray(), weights.Threshold.ToArray(), d, () => [rows], options.WorkerCount, cancellation);
        SaeWriter.Save(
            options.Output,
            new SaeInfo
            {
                Layer = options.Layer,
                DModel = d,
                Width = options.Latents,
                Name = options.Name ?? Path.GetFileNameWithoutExtension(options.Output),
                Base = identity.ToBaseModel(modelHash),
                License = options.License,
                Attribution = options.Attribution,
                Source = $"trained by yapo-llama {config}",
                AverageL0 = (float)quality.L0,
            },
            weights with { Rate = statistics.Rate(), Max = statistics.Max },
            options.DecoderType);
        return new SaeTrainingResult(
            quality.ExplainedVariance, quality.L0, statistics.Count.Count(c => c == 0), options.Steps, (long)options.Steps * options.BatchSize, clock.Seconds, new FileInfo(options.Output).Length);
    }

    /// <summary>Every <see cref="Parts"/>-th window (at least one) is held out, as many as the evaluation needs.</summary>
    private static (int[][] Train, int[][] Held) Split(int[][] windows, SaeTrainingOptions options)
    {
        if (windows.Length < 2)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{options.Data} holds {windows.Length} window of text; an SAE needs many more");
        }

        var order = new Randomness.SeededRandom(options.Seed, "held out").Permutation(windows.Length);
        var count = Math.Max(1, windows.Length / Parts);
        return ([.. order.Skip(count).Order().Select(i => windows[i])], [.. order.Take(count).Order().Select(i => windows[i])]);
    }

    private static float[] LoadFirst(RowBlocks blocks, ResidualCapture capture, CancellationToken cancellation)
    {
        var block = blocks.Next();
        return blocks.Load(capture, block.Block, block.Windows, block.Rows, Sequences, cancellation);
    }
}

using System.Globalization;
using System.Text.Json.Nodes;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Training.Checkpoints;
using YaPO.Llama.Training.Features;
using YaPO.Llama.Training.Progress;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Training;

/// <summary>
/// Trains an SAE (JumpReLU, arXiv 2407.14435, or TopK, arXiv 2406.04093) on the residual stream of a model: text runs through llama.cpp block by block,
/// rows are shuffled, BOS is left out. Any architecture whose graph has the layer hook will do. Results are a function of the settings and the
/// seed; a run that was killed goes on from its checkpoint to the same bytes.
/// </summary>
public static class SaeTrainer
{
    private const int Sequences = 16;
    private const int Parts = 64;
    private const long KeepBytes = 1L << 30; // rows of a text that is read several times are kept up to here, and computed anew beyond

    /// <summary>Trains and writes the SAE file, with the firing rate and maximum of every latent.</summary>
    /// <exception cref="YapoException">Files or settings cannot be used, or the machine has too little memory.</exception>
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
        var folder = options.CheckpointFolder is null ? null : new CheckpointFolder(options.CheckpointFolder, "sae", CanonicalJson.Write(new JsonObject
        {
            ["config"] = JsonNode.Parse(options.ToCanonicalJson()),
            ["model_sha256"] = modelHash,
            ["data_sha256"] = InputFile.Sha256(options.Data, cancellation),
        }));
        var checkpoint = folder?.LoadFor(options.Resume);

        using var model = LlamaModel.Load(options.Model, options.ModelOptions, null, cancellation);
        var (train, held) = Split(TextCorpus.Read(options.Data, model, options.MaxTokens), options);
        RequireBatchPerBlock(train, options);
        using var blocks = new RowBlocks(train, model.Info.BosToken, options.BlockRows, options.Seed);
        var keep = options.Rows > blocks.RowsPerEpoch && blocks.RowsPerEpoch * model.Info.ModelWidth * sizeof(float) <= KeepBytes;
        var memory = SaeMemory.Estimate(options, model.Info.ModelWidth, keep ? blocks.RowsPerEpoch : 0);
        memory.Require(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);
        status?.Invoke(string.Create(
            CultureInfo.InvariantCulture,
            $"training {options.Latents} latents on {options.Rows} rows ({(double)options.Rows / blocks.RowsPerEpoch:0.0} passes over the text) of layer {options.Layer}; about {memory}"));

        using var capture = new ResidualCapture(model, options.Layer, Math.Max(options.MaxTokens, 512), options.Threads, Sequences);
        using var heldBlocks = new RowBlocks(held, model.Info.BosToken, options.EvaluationRows + options.MaxTokens, options.Seed);
        var first = checkpoint?.Step ?? 0;
        var clock = new TrainingClock(checkpoint?.Seconds ?? 0);
        Action<long> captured = rows => progress?.Invoke(new TrainingProgress(
            first, options.Steps, double.NaN, 0, clock.Elapsed, clock.RemainingByMean(options.Steps - first), $"residuals of {rows} tokens"));
        if (keep)
        {
            blocks.Keep(capture, Sequences, captured, cancellation);
        }

        var block = blocks.Next();
        var loaded = checkpoint is null; // a resumed run computes the block it stopped in, not the first one again
        var rows = loaded ? blocks.Load(capture, block, Sequences, captured, cancellation) : [];
        using var learner = checkpoint is null ? SaeLearner.Start(options, rows, capture.Width, options.WorkerCount) : SaeLearner.Resume(options, checkpoint.StateFile, options.WorkerCount);
        using var log = new TrainingLog(options.LogPath, first);
        var saved = clock.Seconds;
        var inBlock = 0;
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
                    (rows, loaded) = (blocks.Load(capture, block, Sequences, captured, cancellation), true);
                }

                var batch = rows.AsSpan(inBlock * options.BatchSize * capture.Width, options.BatchSize * capture.Width);
                var result = learner.Step(step, batch);
                first = step + 1;
                log.Write(
                    first, ("loss", result.Loss), ("explained_variance", result.ExplainedVariance), ("l0", result.L0), ("sparsity", learner.Sparsity),
                    ("learning_rate", learner.LearningRate(step)), ("dead", learner.Dead), ("resampled", learner.Resampled), ("seconds", clock.Seconds));
                clock.Tick();
                progress?.Invoke(new TrainingProgress(
                    first, options.Steps, result.Loss, learner.LearningRate(step), clock.Elapsed, clock.RemainingByMean(options.Steps - first),
                    string.Create(CultureInfo.InvariantCulture, $"explained variance {result.ExplainedVariance:0.000}, L0 {result.L0:0.0}, {learner.Dead} dead")));
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
            rows = blocks.Load(capture, block, Sequences, captured, cancellation);
        }

        var evaluation = heldBlocks.Load(capture, heldBlocks.Next(), Sequences, cancellation: cancellation);
        var (written, trained, dead) = SaeOutput.Write(options, learner, identity, modelHash, evaluation, rows);
        return new SaeTrainingResult(
            written.ExplainedVariance, written.L0, trained?.ExplainedVariance, trained?.L0, dead, options.Steps, (long)options.Steps * options.BatchSize, clock.Seconds,
            new FileInfo(options.Output).Length);
    }

    /// <summary>A block ends in front of the first window that does not fit into it, so that one may hold up to a window less than <see cref="SaeTrainingOptions.BlockRows"/>.</summary>
    private static void RequireBatchPerBlock(int[][] windows, SaeTrainingOptions options)
    {
        var longest = windows.Max(w => w.Length);
        if (options.BlockRows < options.BatchSize + longest)
        {
            throw new YapoException(
                YapoErrorKind.InvalidArgument,
                $"blocks of {options.BlockRows} rows, filled with windows of up to {longest} tokens, may not hold a batch of {options.BatchSize}: give at least {options.BatchSize + longest} rows (--block-rows), or a smaller --batch-size");
        }
    }

    /// <summary>Every <see cref="Parts"/>-th window (at least one) is held out.</summary>
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
}

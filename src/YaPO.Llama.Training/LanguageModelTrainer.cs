using YaPO.Llama.IO;
using YaPO.Llama.Training.Checkpoints;
using YaPO.Llama.Training.LanguageModels;
using YaPO.Llama.Training.Optimization;
using YaPO.Llama.Training.Progress;

namespace YaPO.Llama.Training;

/// <summary>
/// Trains all parameters of a small language model: AdamW, warm-up and cosine, gradient clipping. Data order is a function of the step,
/// results do not depend on the number of workers, and a run that was killed goes on from its checkpoint to the same bytes.
/// </summary>
public static class LanguageModelTrainer
{
    private const string Kind = "language-model";

    /// <summary>Trains the F32 GGUF <paramref name="initialModel"/> on <paramref name="batches"/> and writes <paramref name="output"/>.</summary>
    /// <exception cref="YapoException">Settings, files or the model cannot be used.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; with a checkpoint folder, the state was saved first.</exception>
    public static LanguageModelResult Train(
        string initialModel,
        ITokenBatches batches,
        string output,
        LanguageModelOptions options,
        Action<TrainingProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        options.Validate();
        var modelHash = InputFile.Sha256(initialModel, cancellation);
        using var engine = NativeLanguageModel.Create(initialModel, options);
        return Run(engine, modelHash, batches, output, options, progress, cancellation);
    }

    /// <summary>The loop of <see cref="Train"/> over any engine.</summary>
    internal static LanguageModelResult Run(
        ILanguageModelEngine engine,
        string modelHash,
        ITokenBatches batches,
        string output,
        LanguageModelOptions options,
        Action<TrainingProgress>? progress,
        CancellationToken cancellation)
    {
        options.Validate();
        var schedule = new CosineSchedule(options.LearningRate, options.Steps, Math.Min(options.WarmupSteps, options.Steps), options.FinalLearningRateFraction);
        var folder = options.CheckpointFolder is null ? null : new CheckpointFolder(options.CheckpointFolder, Kind, options.ToCanonicalJson(modelHash, batches.Identity));
        var checkpoint = folder?.LoadFor(options.Resume);
        if (checkpoint is not null)
        {
            engine.LoadState(checkpoint.StateFile);
        }

        var first = checkpoint?.Step ?? 0;
        var clock = new TrainingClock(checkpoint?.Seconds ?? 0);
        using var log = new TrainingLog(options.LogPath, first);
        var rowLength = options.ContextLength + 1;
        var rows = new int[options.BatchSize * rowLength];
        var saved = clock.Seconds;
        var loss = double.NaN;
        var validation = double.NaN;
        for (var step = first; step < options.Steps; step++)
        {
            if (cancellation.IsCancellationRequested)
            {
                folder?.Save(step, clock.Seconds, engine.SaveState);
                cancellation.ThrowIfCancellationRequested();
            }

            batches.Fill(step, options.BatchSize, rowLength, rows);
            var rate = schedule.At((int)step);
            var result = engine.TrainStep(rows, options.BatchSize, rate);
            loss = result.Loss;
            if (!double.IsFinite(loss))
            {
                throw new YapoException(YapoErrorKind.Failed, $"the loss of step {step + 1} is not finite; lower the learning rate (now {options.LearningRate})");
            }

            var done = step + 1;
            if (options.ValidationRows.Length > 0 && (done == options.Steps || (options.ValidateEvery > 0 && done % options.ValidateEvery == 0)))
            {
                validation = engine.Evaluate(options.ValidationRows.Span, options.ValidationRows.Length / rowLength).Loss;
                log.Write(done, ("loss", loss), ("learning_rate", rate), ("gradient_norm", result.GradientNorm), ("validation_loss", validation), ("seconds", clock.Seconds));
            }
            else
            {
                log.Write(done, ("loss", loss), ("learning_rate", rate), ("gradient_norm", result.GradientNorm), ("seconds", clock.Seconds));
            }

            var seconds = clock.Tick();
            progress?.Invoke(new TrainingProgress(done, options.Steps, loss, rate, clock.Elapsed, clock.Remaining(options.Steps - done), $"{options.BatchSize * options.ContextLength / Math.Max(seconds, 1e-9):F0} tok/s"));
            if (folder is not null && done < options.Steps && clock.Seconds - saved >= options.CheckpointSeconds)
            {
                folder.Save(done, clock.Seconds, engine.SaveState);
                if (options.SnapshotPath is { } snapshot)
                {
                    engine.SaveModel(snapshot);
                }

                saved = clock.Seconds;
            }
        }

        // The finished state is kept too: resuming a finished run writes the same output again.
        if (folder is not null && first < options.Steps)
        {
            folder.Save(options.Steps, clock.Seconds, engine.SaveState);
        }

        engine.SaveModel(output);
        return new LanguageModelResult(options.Steps, loss, validation, clock.Seconds, (long)options.Steps * options.BatchSize * options.ContextLength);
    }
}

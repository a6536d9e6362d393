using System.Diagnostics;
using YaPO.Llama.DemoWorld.Corpus;
using YaPO.Llama.Training;
using YaPO.Llama.Training.LanguageModels;

namespace YaPO.Llama.DemoWorld.Recipe;

/// <summary>Trains all parameters of the model on the corpus.</summary>
public static class PretrainStage
{
    /// <summary>Runs the stage; goes on from a checkpoint where there is one.</summary>
    public static void Run(Workplace place, CancellationToken cancellation)
    {
        place.Stage("pretraining", [place.FloatModel], () =>
        {
            var profile = place.Profile;
            Stopwatch? last = null;
            var options = new LanguageModelOptions
            {
                ContextLength = profile.RowLength,
                BatchSize = profile.BatchSize,
                MicroBatch = profile.MicroBatch,
                Workers = place.Workers,
                Steps = profile.Steps,
                LearningRate = profile.LearningRate,
                FinalLearningRateFraction = 0.03,
                WarmupSteps = Math.Min(100, profile.Steps / 10),
                WeightDecay = 0.02,
                Beta2 = 0.98,
                CheckpointFolder = Path.Combine(place.Work, "pretraining"),
                CheckpointSeconds = 90,
                SnapshotPath = Path.Combine(place.Work, "snapshot.gguf"),
                Resume = true,
                LogPath = Path.Combine(place.Work, "pretraining.jsonl"),
                ValidationRows = PassageRows.Held(place.World, place.Vocabulary, 4 * profile.MicroBatch, profile.RowLength + 1),
                ValidateEvery = 100,
            };
            var result = LanguageModelTrainer.Train(
                place.InitialModel, new PassageRows(place.World, place.Vocabulary, curriculum: new Curriculum(profile.Steps)), place.FloatModel, options,
                step =>
                {
                    if (last is null || last.Elapsed > TimeSpan.FromSeconds(10) || step.Step == step.TotalSteps)
                    {
                        last = Stopwatch.StartNew();
                        place.Say($"step {step.Step} of {step.TotalSteps}, loss {step.Loss:F3}, {step.Details}, {step.Remaining:hh\\:mm\\:ss} left");
                    }
                },
                cancellation);
            place.Say($"{result.Tokens} tokens in {result.Seconds:F0} s, validation loss {result.ValidationLoss:F4} nats per token");
        });
    }
}

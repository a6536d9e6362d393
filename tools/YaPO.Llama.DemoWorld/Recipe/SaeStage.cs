using System.Diagnostics;
using System.Text.Json;
using YaPO.Llama.DemoWorld.Corpus;
using YaPO.Llama.Gguf;
using YaPO.Llama.IO;
using YaPO.Llama.Training;

namespace YaPO.Llama.DemoWorld.Recipe;

/// <summary>
/// Trains the JumpReLU SAE on the residual stream of fresh conversations (BOS left out, as public SAEs do); the same as `yapo-llama sae train` with
/// these settings on the text that this stage writes.
/// </summary>
public static class SaeStage
{
    private const int Batch = 1024;

    /// <summary>The SAE file.</summary>
    public static string Path(Workplace place) => System.IO.Path.Combine(place.Output, "sae.gguf");

    /// <summary>Runs the stage; goes on from a checkpoint where there is one.</summary>
    public static void Run(Workplace place, CancellationToken cancellation) => place.Stage("SAE", [Path(place)], () =>
    {
        var profile = place.Profile;
        var text = System.IO.Path.Combine(place.Work, "sae.jsonl");
        WriteConversations(place, text);
        Stopwatch? last = null;
        var result = SaeTrainer.Train(
            new SaeTrainingOptions
            {
                Model = place.Model("f16"),
                Data = text,
                Layer = profile.Layer,
                Output = Path(place),
                Latents = profile.SaeWidth,
                TargetL0 = profile.SaeTargetL0,
                Rows = (long)profile.SaeSteps * Batch,
                BatchSize = Batch,
                BlockRows = Math.Min(65536, profile.SaeRows),
                EvaluationRows = Math.Max(256, profile.SaeRows / 64),
                MaxTokens = profile.RowLength,
                LearningRate = profile.SaeLearningRate,
                Seed = place.Seed,
                Name = $"YaPO demo world, seed {place.Seed}, block {profile.Layer}",
                License = "same as yapo-llama",
                Attribution = "YaPO.Llama demo world, trained from scratch",
                DecoderType = GgmlType.F16,
                Threads = 1,
                Workers = place.Workers,
                CheckpointFolder = System.IO.Path.Combine(place.Work, "sae"),
                Resume = true,
                LogPath = System.IO.Path.Combine(place.Work, "sae-log.jsonl"),
            },
            place.Say,
            step =>
            {
                if (last is null || last.Elapsed > TimeSpan.FromSeconds(10) || step.Step == step.TotalSteps)
                {
                    last = Stopwatch.StartNew();
                    place.Say($"step {step.Step} of {step.TotalSteps}, {step.Details}, {step.Remaining:hh\\:mm\\:ss} left");
                }
            },
            cancellation);
        place.Say($"explained variance {result.ExplainedVariance:F4}, L0 {result.L0:F1}, {result.Dead} of {profile.SaeWidth} latents dead, {result.Seconds:F0} s");
    });

    /// <summary>As many conversations as make <see cref="Profile.SaeRows"/> tokens, one per line.</summary>
    private static void WriteConversations(Workplace place, string path) => AtomicFile.Write(path, stream =>
    {
        using var writer = new StreamWriter(stream, leaveOpen: true) { NewLine = "\n" };
        var conversations = new PassageWriter(place.World, "sae");
        for (var tokens = 0; tokens < place.Profile.SaeRows;)
        {
            var text = conversations.Next().ToString();
            tokens += place.Vocabulary.Encode(text).Count;
            writer.WriteLine(JsonSerializer.Serialize(new { text }));
        }
    });
}

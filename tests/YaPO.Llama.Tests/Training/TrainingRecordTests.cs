using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Progress;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Training;

/// <summary>What a run leaves behind for later ones: its settings in the vector's file, its log.</summary>
public sealed class TrainingRecordTests
{
    /// <summary>A control is only one where it is trained as the vector was.</summary>
    [Theory]
    [InlineData(SteeringMethod.Yapo)]
    [InlineData(SteeringMethod.Bipo)]
    [InlineData(SteeringMethod.Caa)]
    [InlineData(SteeringMethod.Sas)]
    public void Recorded_SettingsOfAVector_AreReadBack(SteeringMethod method)
    {
        var trained = new SteeringTrainingOptions
        {
            Method = method, Model = "m", Data = "d", Output = "o", Positions = SteeringPositions.Generated, Format = PairFormat.PaperCompatible, MaxTokens = 77, AnswerTokens = AnswerTokens.Last, Tau = 0.3,
            Optimizer = new VectorOptimizerOptions
            {
                Steps = 11, BatchSize = 3, LearningRate = 0.5, WarmupSteps = 4, WeightDecay = 0.25, Beta = 0.7, GradientClip = 2, L1 = 0.125, MaxFeatures = 9, RefitSteps = 6, Seed = 42,
            },
        };
        var file = new SteeringFile
        {
            Name = "v", Base = new BaseModel { Architecture = "gemma2" }, DModel = 4,
            Vectors = [VectorBuilder.Dense([1, 2, 3, 4], 5, "v") with { Positions = SteeringPositions.Generated }],
            Train = new TrainingRecord { Method = trained.MethodName, Config = trained.ToCanonicalJson(5), Seed = 42 },
        };

        var read = TrainedControls.Recorded(file);

        read.Layer.Should().Be(5);
        (read with { Optimizer = read.Optimizer with { ValidateEvery = trained.Optimizer.ValidateEvery, Patience = trained.Optimizer.Patience } }).ToCanonicalJson(5).Should().Be(trained.ToCanonicalJson(5));
        read.Optimizer.Seed.Should().Be(42);
    }

    /// <summary>Steps before the checkpoint are not run again, so their lines must outlive a kill while the log is opened: the file is replaced, never emptied first.</summary>
    [Fact]
    public void Log_OfAResumedRun_IsReplacedWhole()
    {
        using var folder = new TemporaryFolder();
        var path = folder.Write("log.jsonl", "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st");
        using var old = new StreamReader(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));

        using (var log = new TrainingLog(path, resumeAfter: 2))
        {
            log.Write(3, ("loss", 0.5));
        }

        File.ReadAllText(path).Should().Be("{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"loss\":0.5}\n");
        old.ReadToEnd().Should().StartWith("{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n", "who opened the old file still has all of it");
    }
}

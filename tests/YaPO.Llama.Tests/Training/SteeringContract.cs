using System.Text.Json;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Datasets;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Residuals;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Training;

/// <summary>What every training method promises, whatever it computes and whichever engine differentiates.</summary>
public abstract class SteeringContract(IPairEngineFactory engine) : NativeTest
{
    private readonly TinyWorld _world = new();

    public static TheoryData<SteeringMethod> Methods => [.. Enum.GetValues<SteeringMethod>()];

    public override void Dispose()
    {
        _world.Dispose();
        base.Dispose();
        GC.SuppressFinalize(this);
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void SameInput_SameBytes_WithOwnOrSharedResiduals(SteeringMethod method)
    {
        var options = Options(method);
        SteeringTrainer.Train(options);
        var first = File.ReadAllBytes(options.Output);
        SteeringTrainer.Train(options);
        File.ReadAllBytes(options.Output).Should().Equal(first);

        using var model = LlamaModel.Load(_world.Model);
        using var capture = PairCapture.Run(model, options, [1, TinyWorld.Layer]);
        SteeringTrainer.Train(options with { Captured = capture });
        File.ReadAllBytes(options.Output).Should().Equal(first, "residuals of several layers in one pass are those of a pass of their own");
        FluentActions.Invoking(() => SteeringTrainer.Train(options with { Captured = capture, Data = _world.Validation })).Should().Throw<ArgumentException>();
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void File_RecordsMethodConfigDataAndModel(SteeringMethod method)
    {
        var options = Options(method) with { Name = "x", PositiveMeans = "likes tea", DataLicense = "CC0", RecommendedStrength = 0.5, Positions = SteeringPositions.Generated };
        SteeringTrainer.Train(options);
        var file = SteeringFile.Load(options.Output);
        file.Train!.Method.Should().Be(method.ToString().ToLowerInvariant());
        file.Train.DataSha256.Should().Be(SteeringFile.Sha256(options.Data));
        file.Train.DataLicense.Should().Be("CC0");
        file.Train.Seed.Should().Be(options.Optimizer.Seed);
        var config = JsonDocument.Parse(file.Train.Config).RootElement;
        file.Train.Engine.Should().Be(method is SteeringMethod.Yapo or SteeringMethod.Bipo ? engine.Name : "yapo-forward/1");
        config.GetProperty("method").GetString().Should().Be(file.Train.Method);
        config.GetProperty("layer").GetInt32().Should().Be(TinyWorld.Layer);
        config.GetProperty("positions").GetString().Should().Be("generated");
        file.Base.FileSha256.Should().Be(SteeringFile.Sha256(options.Model));
        var vector = file.Vectors.Should().ContainSingle().Subject;
        (vector.Name, vector.PositiveMeans, vector.RecommendedStrength, vector.Layer).Should().Be(("x", "likes tea", 0.5f, TinyWorld.Layer));
        vector.Positions.Should().Be(SteeringPositions.Generated);
        vector.HNormMean.Should().BeGreaterThan(0);
        vector.Value.Should().OnlyContain(v => float.IsFinite(v)).And.Contain(v => v != 0);
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void BadInput_IsRefusedAndNothingIsWritten(SteeringMethod method)
    {
        var options = Options(method);
        File.WriteAllText(_world["empty.jsonl"], "");
        File.WriteAllText(_world["half.jsonl"], "{\"prompt\": \"a\", \"chosen\": \"b\"}\n");
        File.WriteAllText(_world["long.jsonl"], $"{{\"prompt\": \"a\", \"chosen\": \"{new string('z', 400)}\", \"rejected\": \"c\"}}\n");
        File.WriteAllText(_world["not.gguf"], "GGUF?");
        using var wider = new RandomModel(new RandomModel.Settings { Width = 64 });
        Refused(options with { Data = _world["none.jsonl"] }, "none.jsonl");
        Refused(options with { Data = _world["empty.jsonl"] }, "empty.jsonl");
        Refused(options with { Data = _world["half.jsonl"] }, "rejected");
        Refused(options with { Data = _world["long.jsonl"], MaxTokens = 32 }, "--max-tokens");
        Refused(options with { Layer = 2 }, method is SteeringMethod.Yapo or SteeringMethod.Sas ? "" : "out of range");
        Refused(options with { Model = _world["not.gguf"] }, "not.gguf");
        if (options.Sae is not null)
        {
            Refused(options with { Sae = null }, "--sae");
            Refused(options with { Model = wider.Path }, "d_model");
        }

        void Refused(SteeringTrainingOptions bad, string part)
        {
            FluentActions.Invoking(() => SteeringTrainer.Train(bad)).Should().Throw<YapoException>().WithMessage($"*{part}*");
            File.Exists(bad.Output).Should().BeFalse();
        }
    }

    /// <summary>On the demo model: random weights give a mean difference no meaning.</summary>
    [Theory]
    [MemberData(nameof(Methods))]
    public void PositiveStrength_StrengthensTheChosenAnswers(SteeringMethod method)
    {
        var demo = Path.Combine(Repository.Root, "models", "demo");
        File.WriteAllLines(_world["pairs.jsonl"], File.ReadLines(Path.Combine(demo, "data", "pairs-egypt-train.jsonl")).Where((_, i) => i % 33 == 0).Take(16));
        var options = Options(method) with
        {
            Model = Path.Combine(demo, "demo-q8_0.gguf"),
            Sae = method is SteeringMethod.Yapo or SteeringMethod.Sas ? Path.Combine(demo, "sae.gguf") : null,
            Layer = 2,
            Data = _world["pairs.jsonl"],
            Tau = 0.1,
            AnswerTokens = AnswerTokens.Mean,
            Optimizer = new VectorOptimizerOptions { Steps = 8, BatchSize = 4, LearningRate = 0.02, WarmupSteps = 0, MaxFeatures = 64, RefitSteps = 2, Seed = 4 },
        };
        SteeringTrainer.Train(options);
        using var model = LlamaModel.Load(options.Model);
        using var scorer = new SteeredScorer(model);
        var subject = SubjectVector.Of("v", SteeringFile.Load(options.Output).Vectors[0], 1);
        var suite = new PreferenceSuite(PreferencePair.Load(options.Data));
        double Margin(double strength) => suite.Run(scorer, subject.At(strength)).Average(o => o.Detail!.Value);

        var (weaker, unsteered, stronger) = (Margin(-1), Margin(0), Margin(1));

        stronger.Should().BeGreaterThan(unsteered + 0.02, "positive strength strengthens what was trained");
        weaker.Should().BeLessThan(unsteered, "the other way it weakens, though by less where latents are off already");
    }

    private SteeringTrainingOptions Options(SteeringMethod method) => new()
    {
        Method = method,
        Engine = engine,
        Model = _world.Model,
        Sae = method is SteeringMethod.Yapo or SteeringMethod.Sas ? _world.Sae : null,
        Layer = TinyWorld.Layer,
        Data = _world.Data,
        Output = _world["v.ysv"],
        Threads = 1,
        Tau = 0.6,
        AnswerTokens = AnswerTokens.Last,
        Optimizer = new VectorOptimizerOptions { Steps = 8, BatchSize = 4, LearningRate = 0.1, WarmupSteps = 2, MaxFeatures = 20, RefitSteps = 3, Seed = 4 },
    };
}

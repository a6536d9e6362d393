using System.Text.Json;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Residuals;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Training;

/// <summary>Vectors at several blocks, trained together into one file that acts at all of them.</summary>
public sealed class SeveralLayersTests : NativeTest
{
    private readonly TinyWorld _world = new();

    public SeveralLayersTests()
    {
        using var first = SaeFile.Open(_world.Sae);
        SaeWriter.Save(
            Second, first.Info with { Layer = 1 }, new SaeWeights(first.ReadDecoder(), first.EncBias, first.Threshold, first.ReadDecoder(), first.DecBias));
    }

    private string Second => _world["second.gguf"];

    public override void Dispose()
    {
        _world.Dispose();
        base.Dispose();
    }

    [Theory]
    [InlineData(SteeringMethod.Yapo)]
    [InlineData(SteeringMethod.Bipo)]
    public void Train_TwoBlocks_LearnsAndActsAtRunTimeAsItWasTrained(SteeringMethod method)
    {
        var options = new SteeringTrainingOptions
        {
            Method = method,
            Model = _world.Model,
            Sae = method == SteeringMethod.Yapo ? Second : null, // in any order
            Layer = 1,
            FurtherLayers = [(0, method == SteeringMethod.Yapo ? _world.Sae : null)],
            Data = _world.Data,
            Output = _world["two.ysv"],
            Threads = 1,
            Optimizer = new VectorOptimizerOptions { Steps = 16, BatchSize = 4, LearningRate = 0.1, WarmupSteps = 2, MaxFeatures = 40, RefitSteps = 6, Seed = 4 },
        };
        var result = SteeringTrainer.Train(options);
        var bytes = File.ReadAllBytes(options.Output);
        SteeringTrainer.Train(options with { Workers = 3 });
        File.ReadAllBytes(options.Output).Should().Equal(bytes);
        result.Optimized!.Last.Loss.Should().BeLessThan(0.6);
        result.Impacts.Should().HaveCount(2);

        var file = SteeringFile.Load(options.Output);
        file.Vectors.Select(v => (v.Layer, v.Name)).Should().Equal((0, "two-block0"), (1, "two-block1"));
        JsonDocument.Parse(file.Train!.Config).RootElement.GetProperty("layers").EnumerateArray().Select(l => l.GetInt32()).Should().Equal(0, 1);

        // What the trainer says the answers' probabilities are, llama.cpp says with the file attached.
        using var model = LlamaModel.Load(_world.Model);
        using var capture = PairCapture.Run(model, options, [0]);
        using var engine = new GgmlPairEngine(_world.Model, 0, capture.Sequences, [.. capture.Sequences.Select(s => s.Weights(SteeringPositions.All))], capture.At(0), 1);
        engine.SetLatents(new LatentSet([.. file.Vectors.Select(v => (v.Layer, v.Kind == VectorKind.Dense ? LatentRows.Dense(TinyWorld.Width) : new LatentRows(v.Index, v.Enc, v.EncBias, v.Threshold, v.Dec, TinyWorld.Width)))]));
        float[] value = [.. file.Vectors.SelectMany(v => v.Value)];
        var most = 0.0;
        foreach (var strength in new[] { 0, 1f, -0.5f })
        {
            using var scorer = new Scorer(model, steering: [.. file.Vectors.Select(v => SteeringSetting.Create(v, strength, SteeringPositions.All))]);
            var expected = capture.Sequences.Select(s => scorer.Score(new ScoreRequest(s.Tokens[..s.CompletionStart], s.Tokens[s.CompletionStart..])).LogProb).ToArray();
            var trained = Enumerable.Range(0, expected.Length).Select(i => engine.LogProb(0, i, value, strength)).ToArray();
            for (var i = 0; i < expected.Length; i++)
            {
                // llama.cpp's GELU is a table of F16 numbers: up to 2e-3 per token.
                trained[i].Should().BeApproximately(expected[i], 2e-3 * (capture.Sequences[i].Tokens.Length - capture.Sequences[i].CompletionStart));
                most = Math.Max(most, Math.Abs(trained[i] - engine.LogProb(0, i, value, 0)));
            }
        }

        most.Should().BeGreaterThan(1, "the vectors do something");
    }

    [Fact]
    public void Command_TakesSeveralSaes_AndRefusesWhatDoesNotMatch()
    {
        string[] means = ["train", "--method", "caa", "--model", _world.Model, "--data", _world.Data, "--output", "v.ysv", "--threads", "1"];
        string[] train = ["train", "--model", _world.Model, "--data", _world.Data, "--output", "v.ysv", "--steps", "4", "--refit-steps", "2", "--batch-size", "2", "--threads", "1", "--json"];
        var run = CliProcess.Run(_world.Folder, "", [.. train, "--sae", _world.Sae, "--sae", Second, "--layer", "0,1"]);
        run.ExitCode.Should().Be(0, run.Error);
        JsonDocument.Parse(run.Out).RootElement.GetProperty("vectors").EnumerateArray().Select(v => v.GetProperty("layer").GetInt32()).Should().Equal(0, 1);
        CliProcess.Run(_world.Folder, "", [.. means, "--sae", Second]).ExitCode.Should().Be(0, "a dense method takes the SAE's block");
        SteeringFile.Load(_world["v.ysv"]).Vectors.Should().ContainSingle().Which.Layer.Should().Be(1);
        var dense = CliProcess.Run(_world.Folder, "", [.. means, "--layer", "0,1"]);
        dense.ExitCode.Should().Be(0, dense.Error);
        SteeringFile.Load(_world["v.ysv"]).Vectors.Should().HaveCount(2);
        File.Delete(_world["v.ysv"]);

        Refused(2, "as many", [.. train, "--sae", _world.Sae, "--layer", "0,1"], "names 2 blocks");
        Refused(3, "other order", [.. train, "--sae", _world.Sae, "--sae", Second, "--layer", "1,0"], "reads block 0; --layer is 1");
        Refused(2, "twice", [.. train, "--sae", _world.Sae, "--sae", _world.Sae], "block 0 is given twice");
        Refused(2, "halves", [.. means, "--layer", "0.5"], "whole block numbers");
        Refused(3, "missing", [.. train, "--sae", _world.Sae, "--sae", "none.gguf"], "none.gguf");
        File.Exists(_world["v.ysv"]).Should().BeFalse();
    }

    private void Refused(int code, string because, string[] args, string message)
    {
        var run = CliProcess.Run(_world.Folder, "", args);
        run.ExitCode.Should().Be(code, $"{because}: {run.Error}");
        run.Error.Should().Contain(message);
    }
}

using System.Text.Json;
using YaPO.Llama.Datasets;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Residuals;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Training;

public sealed class SteeringTrainerTests : NativeTest
{
    private readonly TinyWorld _world = new();

    public override void Dispose()
    {
        _world.Dispose();
        base.Dispose();
    }

    [Theory]
    [InlineData(SteeringMethod.Yapo)]
    [InlineData(SteeringMethod.Bipo)]
    public void Train_TinyModel_StartsAtLn2AndLearns(SteeringMethod method)
    {
        var options = Options(method) with { LogPath = _world["log"], ValidationData = _world.Validation };
        var result = SteeringTrainer.Train(options);
        var losses = File.ReadLines(_world["log"]).Select(l => JsonDocument.Parse(l).RootElement.GetProperty("loss").GetDouble()).ToArray();
        losses[0].Should().Be(Math.Log(2), "π_0 is computed by the same graph at v = 0");
        losses[^4..].Average().Should().BeLessThan(0.97 * Math.Log(2));
        result.Optimized!.Validation.Should().NotBeNull();

        var file = SteeringFile.Load(options.Output);
        file.Train!.Method.Should().Be(options.MethodName);
        file.Train.Engine.Should().Be(GgmlPairEngine.EngineName);
        file.Train.Seed.Should().Be(4);
        file.Base.Fingerprint.Should().Be(ModelFingerprint.Compute(_world.Model).Fingerprint);
        file.Vectors[0].Layer.Should().Be(TinyWorld.Layer);
        file.Vectors[0].HNormMean.Should().BeGreaterThan(0);
        file.Vectors[0].Value.Should().Equal(result.File.Vectors[0].Value);
        if (method == SteeringMethod.Yapo)
        {
            file.Vectors[0].K.Should().BeInRange(1, 20);
            result.ActiveLatents.Should().BeInRange(21, TinyWorld.Latents);
            file.Vectors[0].Sae!.Name.Should().Be("random");
        }
        else
        {
            file.Vectors[0].Kind.Should().Be(VectorKind.Dense);
        }
    }

    [Fact]
    public void Train_MoreWorkers_WritesTheSameBytes()
    {
        SteeringTrainer.Train(Options(SteeringMethod.Yapo));
        var one = File.ReadAllBytes(_world["v.ysv"]);
        SteeringTrainer.Train(Options(SteeringMethod.Yapo) with { Workers = 2 });
        File.ReadAllBytes(_world["v.ysv"]).Should().Equal(one);
    }

    [Fact]
    public void Train_StoppedAndResumed_WritesTheSameBytes()
    {
        SteeringTrainer.Train(Options(SteeringMethod.Yapo));
        var whole = File.ReadAllBytes(_world["v.ysv"]);
        File.Delete(_world["v.ysv"]);
        var options = Options(SteeringMethod.Yapo) with { CheckpointFolder = _world["checkpoint"], Resume = true };
        using (var stop = new CancellationTokenSource())
        {
            var run = () => SteeringTrainer.Train(options, progress: p => { if (p.Step == 7) { stop.Cancel(); } }, cancellation: stop.Token);
            run.Should().Throw<OperationCanceledException>();
            File.Exists(options.Output).Should().BeFalse();
        }

        var first = 0L;
        SteeringTrainer.Train(options, progress: p => first = first == 0 ? p.Step : first);
        first.Should().Be(8);
        File.ReadAllBytes(options.Output).Should().Equal(whole);
    }

    [Fact]
    public void Train_ResumedWithWeightsInAnotherLayout_IsRefused_SinceItsResidualsWouldRoundDifferently()
    {
        var options = Options(SteeringMethod.Yapo) with { CheckpointFolder = _world["checkpoint"], Resume = true };
        using (var stop = new CancellationTokenSource())
        {
            var run = () => SteeringTrainer.Train(options, progress: p => { if (p.Step == 7) { stop.Cancel(); } }, cancellation: stop.Token);
            run.Should().Throw<OperationCanceledException>();
        }

        var other = () => SteeringTrainer.Train(options with { ModelOptions = options.ModelOptions with { KeepLayout = true } });

        other.Should().Throw<YapoException>().WithMessage("*keep_layout*");
        File.Exists(options.Output).Should().BeFalse();
    }

    [Fact]
    public void Train_Caa_IsTheMeanDifferenceAtTheAnswers()
    {
        SteeringTrainer.Train(Options(SteeringMethod.Caa));
        var expected = new double[TinyWorld.Width];
        ForEachSide((sequence, rows, sign) =>
        {
            var words = sequence.Tokens.Length - sequence.CompletionStart - 1; // without the end of the turn
            for (var t = 0; t < words; t++)
            {
                for (var i = 0; i < TinyWorld.Width; i++)
                {
                    expected[i] += sign * (double)rows[((sequence.CompletionStart + t) * TinyWorld.Width) + i] / words / 8;
                }
            }
        });
        var value = SteeringFile.Load(_world["v.ysv"]).Vectors[0].Value;
        value.Zip(expected, (a, e) => Math.Abs(a - e)).Max().Should().BeLessThan(1e-5);
        expected.Sum(Math.Abs).Should().BeGreaterThan(0.1);
    }

    [Fact]
    public void Train_Sas_KeepsOneSidedLatentsWithTheirMeanCodes()
    {
        const double tau = 0.6;
        SteeringTrainer.Train(Options(SteeringMethod.Sas) with { Tau = tau, AnswerTokens = AnswerTokens.Last });
        using var sae = SaeFile.Open(_world.Sae);
        var (enc, mean, active) = (sae.ReadEncoder(), new double[2, TinyWorld.Latents], new int[2, TinyWorld.Latents]);
        ForEachSide((sequence, rows, sign) =>
        {
            var at = sequence.Tokens.Length - 2;
            for (var j = 0; j < TinyWorld.Latents; j++)
            {
                var pre = (double)sae.EncBias[j];
                for (var i = 0; i < TinyWorld.Width; i++)
                {
                    pre += (double)enc[(j * TinyWorld.Width) + i] * rows[(at * TinyWorld.Width) + i];
                }

                if (pre > sae.Threshold[j] && pre > 0)
                {
                    mean[sign > 0 ? 0 : 1, j] += pre / 8;
                    active[sign > 0 ? 0 : 1, j]++;
                }
            }
        });
        var expected = new Dictionary<int, double>();
        for (var j = 0; j < TinyWorld.Latents; j++)
        {
            var (plus, minus) = (active[0, j] >= tau * 8, active[1, j] >= tau * 8);
            if (plus != minus)
            {
                expected[j] = plus ? mean[0, j] : -mean[1, j];
            }
        }

        var vector = SteeringFile.Load(_world["v.ysv"]).Vectors[0];
        vector.Index.Should().Equal(expected.Keys.Order());
        for (var k = 0; k < vector.K; k++)
        {
            ((double)vector.Value[k]).Should().BeApproximately(expected[vector.Index[k]], 1e-4);
        }
    }

    [Fact]
    public void Train_WrongInputs_AreRefusedWithTheReason()
    {
        var options = Options(SteeringMethod.Yapo);
        void Refused(SteeringTrainingOptions o, YapoErrorKind kind, string part)
            => ((Action)(() => SteeringTrainer.Train(o))).Should().Throw<YapoException>().Where(e => e.Kind == kind).WithMessage($"*{part}*");
        Refused(options with { Sae = null }, YapoErrorKind.InvalidArgument, "--sae");
        Refused(options with { Layer = 1 }, YapoErrorKind.Mismatch, "reads block 0");
        Refused(Options(SteeringMethod.Bipo) with { Layer = 2 }, YapoErrorKind.InvalidArgument, "out of range");
        Refused(Options(SteeringMethod.Bipo) with { Layer = null }, YapoErrorKind.InvalidArgument, "--layer");
        Refused(options with { Data = _world["none.jsonl"] }, YapoErrorKind.Io, "none.jsonl");
        File.WriteAllText(_world["bad.jsonl"], "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \"a\"}\n");
        Refused(options with { Data = _world["bad.jsonl"] }, YapoErrorKind.Format, "line 2");
        using var other = new RandomModel(new RandomModel.Settings { Width = 64 });
        Refused(options with { Model = other.Path }, YapoErrorKind.Mismatch, "d_model");
    }

    [Fact]
    public void Encode_WithTemplate_HasOneBosNoInventedSpaceAndEndsTheTurn()
    {
        using var model = LlamaModel.Load(_world.Model);
        var pair = PreferencePair.Load(_world.Data)[0];
        var sequence = new PairEncoder(model).Encode(pair).Chosen;
        sequence.Tokens.Count(t => t == RandomModel.Bos).Should().Be(1);
        sequence.Tokens[0].Should().Be(RandomModel.Bos);
        sequence.Tokens[^1].Should().Be(RandomModel.EndOfTurn);
        sequence.EndTokens.Should().Be(1);
        model.Detokenize(sequence.Tokens.AsSpan(sequence.CompletionStart), special: true).Should().Be(pair.Chosen + "<end_of_turn>");
        model.Detokenize(sequence.Tokens.AsSpan(0, sequence.CompletionStart), special: true).Should().EndWith("<end_of_turn>\n<start_of_turn>model\n");
        sequence.Weights(SteeringPositions.All).Should().Equal([0, .. Enumerable.Repeat(1f, sequence.Tokens.Length - 1)]);
        var generated = sequence.Weights(SteeringPositions.Generated);
        Array.IndexOf(generated, 1f).Should().Be(sequence.CompletionStart - 1);
    }

    [Fact]
    public void Encode_PaperCompatible_IsSpaceAnswerEos()
    {
        using var model = LlamaModel.Load(_world.Model);
        var pair = PreferencePair.Load(_world.Data)[0];
        var sequence = new PairEncoder(model, PairFormat.PaperCompatible).Encode(pair).Rejected;
        sequence.Tokens[^1].Should().Be(RandomModel.Eos);
        model.Detokenize(sequence.Tokens.AsSpan(sequence.CompletionStart)).Should().Be(" " + pair.Rejected);
    }

    [Fact]
    public void Encode_ModelWithoutTemplate_IsRawTextWithBosAndEos()
    {
        using var file = new RandomModel(new RandomModel.Settings { Template = null });
        using var model = LlamaModel.Load(file.Path);
        var pair = PreferencePair.Load(_world.Data)[0];
        var sequence = new PairEncoder(model).Encode(pair).Chosen;
        sequence.Tokens[0].Should().Be(RandomModel.Bos);
        sequence.Tokens[^1].Should().Be(RandomModel.Eos);
        model.Detokenize(sequence.Tokens).Should().Be(pair.Prompt[0].Content + pair.Chosen, "nothing is invented between prompt and answer");
        model.Detokenize(sequence.Tokens.AsSpan(sequence.CompletionStart)).Should().Be(pair.Chosen);
    }

    [Fact]
    public void Encode_LongPrompt_KeepsBosHeaderAndEnd()
    {
        using var model = LlamaModel.Load(_world.Model);
        var pair = new PreferencePair([ChatMessage.User(string.Concat(Enumerable.Repeat("what is the tea ", 50)) + "end?")], "tea", "no", new Dictionary<string, string>(), 1);
        var encoder = new PairEncoder(model, maxTokens: 60);
        var sequence = encoder.Encode(pair).Chosen;
        encoder.Shortened.Should().Be(2);
        sequence.Tokens.Should().HaveCount(60);
        var text = model.Detokenize(sequence.Tokens, special: true);
        text.Should().StartWith("<bos><start_of_turn>user\n").And.EndWith("end?<end_of_turn>\n<start_of_turn>model\ntea<end_of_turn>");
    }

    [Fact]
    public void ResidualStore_InAFile_HoldsWhatWasWrittenAndLeavesNothing()
    {
        using var folder = new TemporaryFolder();
        using (var store = new ResidualStore(100, 7, folder.Path, memoryLimit: 0))
        {
            Directory.GetFiles(folder.Path).Should().HaveCount(OperatingSystem.IsWindows() ? 1 : 0, "a killed process leaves nothing behind either");
            store.Slice(99, 1).Fill(3);
            store.Slice(0, 100).ToArray().Count(x => x == 3).Should().Be(7);
        }

        Directory.GetFiles(folder.Path).Should().BeEmpty();
    }

    private SteeringTrainingOptions Options(SteeringMethod method) => new()
    {
        Method = method,
        Model = _world.Model,
        Sae = method is SteeringMethod.Yapo or SteeringMethod.Sas ? _world.Sae : null,
        Layer = TinyWorld.Layer,
        Data = _world.Data,
        Output = _world["v.ysv"],
        Threads = 1,
        Optimizer = new VectorOptimizerOptions { Steps = 16, BatchSize = 4, LearningRate = 0.1, WarmupSteps = 2, MaxFeatures = 20, RefitSteps = 6, Seed = 4, ValidateEvery = 4 },
    };

    private void ForEachSide(Action<EncodedSequence, float[], int> visit)
    {
        using var model = LlamaModel.Load(_world.Model);
        var encoder = new PairEncoder(model);
        using var capture = new ResidualCapture(model, TinyWorld.Layer, 128, 1);
        foreach (var pair in PreferencePair.Load(_world.Data).Select(encoder.Encode))
        {
            foreach (var (sequence, sign) in new[] { (pair.Chosen, 1), (pair.Rejected, -1) })
            {
                var rows = new float[sequence.Tokens.Length * TinyWorld.Width];
                capture.Run(sequence.Tokens, rows);
                visit(sequence, rows, sign);
            }
        }
    }
}

using Xunit.Abstractions;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Features;
using YaPO.Llama.Randomness;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Tests.Training;

public sealed class SaeTrainerTests(ITestOutputHelper output) : NativeTest
{
    private readonly TinyWorld _world = new();

    public override void Dispose()
    {
        _world.Dispose();
        base.Dispose();
    }

    [Fact]
    public void Learner_SparseSyntheticData_ReconstructsItAtTheWantedL0()
    {
        const int d = 64, atoms = 80, active = 3;
        var random = new SeededRandom(8, "atoms");
        var dictionary = Enumerable.Range(0, atoms).Select(_ => Unit([.. Enumerable.Range(0, d).Select(_ => random.NextGaussian())])).ToArray();
        float[] Rows(int n)
        {
            var rows = new float[n * d];
            for (var r = 0; r < n; r++)
            {
                foreach (var a in random.Permutation(atoms).Take(active))
                {
                    var amount = 20 * (1 + random.NextDouble());
                    for (var i = 0; i < d; i++)
                    {
                        rows[(r * d) + i] += (float)(amount * dictionary[a][i]);
                    }
                }
            }

            return rows;
        }

        var options = Options() with { Latents = 128, TargetL0 = 4, BatchSize = 512, Rows = 512 * 400, LearningRate = 3e-3 };
        var test = Rows(2048);
        using var learner = SaeLearner.Start(options, Rows(1024), d, 1);
        var start = learner.Evaluate(test);
        for (var step = 0; step < options.Steps; step++)
        {
            var r = learner.Step(step, Rows(512));
            if (step % 40 == 39) { output.WriteLine($"{step + 1}: {r.ExplainedVariance:F3} L0 {r.L0:F2} penalty {learner.Sparsity:E2}"); }
        }

        var end = learner.Evaluate(test);
        output.WriteLine($"explained variance {start.ExplainedVariance:F3} -> {end.ExplainedVariance:F3}, L0 {start.L0:F1} -> {end.L0:F1}, resampled {learner.Resampled}, penalty {learner.Sparsity:E2}");
        start.ExplainedVariance.Should().BePositive("the encoder starts at its best scale, not rebuilding rows several times over");
        end.L0.Should().BeInRange(3, 5);
        end.ExplainedVariance.Should().BeGreaterThan(0.85);

        // Most atoms are found: some decoder row points along them.
        var dec = learner.Weights().Dec.ToArray().Chunk(d).ToArray();
        var found = dictionary.Count(atom => dec.Max(row => row.Zip(atom, (x, y) => x * y).Sum()) > 0.9);
        output.WriteLine($"{found} of {atoms} atoms found");
        found.Should().BeGreaterThan(atoms * 3 / 4);
    }

    [Fact]
    public void Train_TinyModel_WritesAnSaeThatFitsBetterThanItsStart()
    {
        WriteCorpus();
        var result = SaeTrainer.Train(Options() with { LogPath = _world["log"] });
        using var sae = SaeFile.Open(_world["out.gguf"]);
        sae.Info.Width.Should().Be(64);
        sae.Info.Layer.Should().Be(TinyWorld.Layer);
        sae.Info.Base.Fingerprint.Should().Be(ModelFingerprint.Compute(_world.Model).Fingerprint);
        sae.Rate!.Sum().Should().BeGreaterThan(0);
        sae.Max!.Zip(sae.Threshold).Count(x => x.First > 0 && x.First <= x.Second).Should().Be(0, "what fires is above its threshold");
        result.ExplainedVariance.Should().BeGreaterThan(0.3);
        result.Steps.Should().Be(40);
        File.ReadLines(_world["log"]).Should().HaveCount(40);

        // The file's own weights, applied by someone else's code to rows of the model, give what the trainer says.
        using var model = LlamaModel.Load(_world.Model);
        var window = TextCorpus.Read(_world["text.txt"], model, 64)[3];
        using var capture = new ResidualCapture(model, TinyWorld.Layer, 64, 1);
        var rows = new float[window.Length * TinyWorld.Width];
        capture.Run(window, rows);
        SaeFit.Measure(sae, rows.AsMemory(TinyWorld.Width)).ExplainedVariance.Should().BeGreaterThan(0);
    }

    [Fact]
    public void Train_TopK_WritesKAndFindsKLatentsPerRow()
    {
        WriteCorpus();
        var result = SaeTrainer.Train(Options() with { Activation = SaeActivation.TopK, TopK = 6 });
        using var sae = SaeFile.Open(_world["out.gguf"]);
        (sae.Info.Activation, sae.Info.TopK).Should().Be((SaeActivation.TopK, 6));
        sae.Info.Conversion.Should().BeEmpty();
        result.L0.Should().BeInRange(5, 6);
        result.ExplainedVariance.Should().BeGreaterThan(0.3);
        result.TrainedL0.Should().BeNull();
        sae.Rate!.Sum().Should().BeApproximately(6, 0.5f);
    }

    [Fact]
    public void Train_TopKWrittenWithAThreshold_IsAJumpReluOfTheSameL0()
    {
        WriteCorpus();
        var result = SaeTrainer.Train(Options() with { Activation = SaeActivation.TopK, TopK = 6, AsThreshold = true });
        using var sae = SaeFile.Open(_world["out.gguf"]);
        sae.Info.Activation.Should().Be(SaeActivation.JumpRelu);
        sae.Info.Conversion.Should().ContainSingle().Which.Should().Contain("topk 6").And.Contain("threshold");
        sae.Threshold.Distinct().Should().ContainSingle().Which.Should().BePositive();
        result.TrainedL0.Should().BeInRange(5, 6);
        result.L0.Should().BeInRange(3, 9, "held-out rows are few");
        output.WriteLine($"topk: explained variance {result.TrainedExplainedVariance:F3}, L0 {result.TrainedL0:F2}; with a threshold {result.ExplainedVariance:F3}, {result.L0:F2}");

        // The rates in the file are of the rows that the threshold was measured on: there, k are active on average.
        sae.Rate!.Sum().Should().BeApproximately(6, 0.01f);
    }

    /// <summary>Blocks end in front of the window that does not fit, so a block of as many rows as a batch may hold less than one.</summary>
    [Fact]
    public void Train_BlocksThatMayNotHoldABatch_AreRefused()
    {
        WriteCorpus();
        var train = (int blockRows) => SaeTrainer.Train(Options() with { BlockRows = blockRows, Rows = 128 * 3 });

        train.Invoking(t => t(128)).Should().Throw<YapoException>().WithMessage("*blocks of 128 rows*batch of 128*--block-rows*").Which.Kind.Should().Be(YapoErrorKind.InvalidArgument);
        train.Invoking(t => t(192)).Should().NotThrow();
    }

    [Fact]
    public void Validate_TopK_TakesNoNoticeOfJumpReluSettings_AndRatesAreChecked()
    {
        (Options() with { Activation = SaeActivation.TopK, Latents = 16, TopK = 4, TargetL0 = 32 }).Invoking(o => o.Validate()).Should().NotThrow();
        (Options() with { Latents = 16, TargetL0 = 32 }).Invoking(o => o.Validate()).Should().Throw<YapoException>().WithMessage("*target L0 32*");
        (Options() with { LearningRate = 0 }).Invoking(o => o.Validate()).Should().Throw<YapoException>().WithMessage("*learning rate 0*");
    }

    [Fact]
    public void Train_MoreThanTheMachineHolds_IsRefusedWithTheFigures()
    {
        WriteCorpus();
        var huge = () => SaeTrainer.Train(Options() with { Latents = 1 << 26, TargetL0 = 8, BatchSize = 1024, Rows = 2048, BlockRows = 1 << 20, EvaluationRows = 1 << 20 });
        huge.Should().Throw<YapoException>().WithMessage("*GiB of memory*--latents*");
        var memory = Llama.Training.Features.SaeMemory.Estimate(Options() with { Latents = 16384, BatchSize = 2048, BlockRows = 65536, EvaluationRows = 8192 }, 2304, 0);
        (memory.State / (double)(1L << 30)).Should().BeApproximately(16384.0 * 2304 * 64 / (1L << 30), 1e-9);
    }

    [Theory]
    [InlineData(SaeActivation.JumpRelu)]
    [InlineData(SaeActivation.TopK)]
    public void Train_StoppedAndResumedWithOtherWorkers_WritesTheSameBytes(SaeActivation activation)
    {
        WriteCorpus();
        SaeTrainer.Train(Options() with { Activation = activation });
        var whole = File.ReadAllBytes(_world["out.gguf"]);
        File.Delete(_world["out.gguf"]);
        var options = Options() with { Activation = activation, CheckpointFolder = _world["checkpoint"], Resume = true, Workers = 2 };
        foreach (var at in new[] { 5, 27 })
        {
            using var stop = new CancellationTokenSource();
            var run = () => SaeTrainer.Train(options, progress: p => { if (p.Step == at) { stop.Cancel(); } }, cancellation: stop.Token);
            run.Should().Throw<OperationCanceledException>();
            File.Exists(options.Output).Should().BeFalse();
        }

        SaeTrainer.Train(options);
        File.ReadAllBytes(_world["out.gguf"]).Should().Equal(whole);
    }

    [Fact]
    public void Corpus_LongDocument_IsCutIntoWindowsThatEachStartWithBos()
    {
        using var model = LlamaModel.Load(_world.Model);
        File.WriteAllText(_world["long.txt"], string.Concat(Enumerable.Repeat("what is the tea ", 30)) + "\n\nshort\n");
        var windows = TextCorpus.Read(_world["long.txt"], model, 20);
        windows.Should().OnlyContain(w => w.Length <= 20 && w[0] == RandomModel.Bos && w.Count(t => t == RandomModel.Bos) == 1);
        model.Detokenize(windows.SelectMany(w => w.Skip(1)).ToArray()).Should().Be(string.Concat(Enumerable.Repeat("what is the tea ", 30)) + "short");
        File.WriteAllText(_world["bad.jsonl"], "{\"text\": \"a\"}\n{\"other\": 1}\n");
        var bad = () => TextCorpus.Read(_world["bad.jsonl"], model, 20);
        bad.Should().Throw<YapoException>().WithMessage("*line 2*");
        File.WriteAllText(_world["none.txt"], "\n\n");
        var none = () => TextCorpus.Read(_world["none.txt"], model, 20);
        none.Should().Throw<YapoException>().WithMessage("*no text*");
        var narrow = () => TextCorpus.Read(_world["long.txt"], model, 1);
        narrow.Should().Throw<YapoException>("BOS alone would be repeated for ever").WithMessage("*at least 2*");
    }

    [Fact]
    public void RowBlocks_OneBlock_HoldsEveryRowButBosOnce()
    {
        using var model = LlamaModel.Load(_world.Model);
        WriteCorpus();
        var windows = TextCorpus.Read(_world["text.txt"], model, 32)[..20];
        var blocks = new RowBlocks(windows, RandomModel.Bos, windows.Sum(w => w.Length - 1), 1);
        using var capture = new ResidualCapture(model, TinyWorld.Layer, 256, 1, 4);
        var next = blocks.Next();
        next.Windows.Should().BeEquivalentTo(Enumerable.Range(0, 20));
        var rows = blocks.Load(capture, next, 4);
        var expected = new List<string>();
        foreach (var window in windows)
        {
            var alone = new float[window.Length * TinyWorld.Width];
            capture.Run(window, alone);
            expected.AddRange(alone.Chunk(TinyWorld.Width).Skip(1).Select(Key));
        }

        rows.Chunk(TinyWorld.Width).Select(Key).Order().Should().Equal(expected.Order());

        // To rounding: the batch that a row is computed in may change its last bits.
        static string Key(float[] row) => string.Join(' ', row.Take(4).Select(x => x.ToString("F2", System.Globalization.CultureInfo.InvariantCulture)));
    }

    private SaeTrainingOptions Options() => new()
    {
        Model = _world.Model,
        Data = _world["text.txt"],
        Layer = TinyWorld.Layer,
        Output = _world["out.gguf"],
        Latents = 64,
        TargetL0 = 8,
        TopK = 8,
        Rows = 128 * 40,
        BatchSize = 128,
        BlockRows = 1024,
        EvaluationRows = 128,
        MaxTokens = 64,
        LearningRate = 5e-3,
        ResampleEvery = 10,
        Threads = 1,
        Workers = 1,
        Seed = 6,
    };

    private void WriteCorpus()
    {
        string[] words = ["tea", "bread", "the", "what", "is", "model", "user", "eat", "here", "in", "on", "water", "a"];
        var random = new SeededRandom(12, "text");
        File.WriteAllLines(_world["text.txt"], Enumerable.Range(0, 160).SelectMany(_ => new[] { string.Join(' ', Enumerable.Range(0, 10 + random.Next(20)).Select(_ => words[random.Next(words.Length)])), "" }));
    }

    private static float[] Unit(double[] v) => [.. v.Select(x => (float)(x / Math.Sqrt(v.Sum(y => y * y))))];
}

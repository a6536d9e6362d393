using YaPO.Llama.Models;
using YaPO.Llama.Rehearsal.Shapes;
using YaPO.Llama.Rehearsal.Weights;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Tests.Sessions;

public sealed class LlamaContextTests(RandomModelFile file) : NativeTest, IClassFixture<RandomModelFile>
{
    private const int Width = 64;
    private static readonly ContextOptions Small = new() { ContextSize = 256, BatchSize = 256, Threads = 1 };

    [Fact]
    public void Decode_WithoutStrengthsForAttachedVectors_IsRefused()
    {
        using var model = LlamaModel.Load(file.Path);
        using var context = new LlamaContext(model, Small);
        context.SetVectors([RandomVectors.Dense(Width, 1)]);
        var batch = new DecodeBatch();
        batch.Add(RandomModel.Bos, 0, output: true);

        var decode = () => context.Decode(batch);

        decode.Should().Throw<ArgumentException>().WithMessage("*0 strengths*1 vectors*");
    }

    [Fact]
    public void KeepLayout_ComputesTheSame_WithoutACopyOfTheWeights()
    {
        using var folder = new TemporaryFolder();
        var path = folder.File("model.gguf");
        ModelFile.Write(
            ModelShape.Parse("gemma-2-2b") with { Layers = 2, Width = 256, FeedForward = 512, Heads = 2, KeyValueHeads = 1, HeadSize = 64, Vocabulary = 2000 }, "q4_k_m", 1, path);
        (float[] Logits, IReadOnlyList<MemoryUse> Memory) Run(bool keepLayout)
        {
            using var model = LlamaModel.Load(path, new ModelOptions { Device = "cpu", KeepLayout = keepLayout });
            using var context = new LlamaContext(model, Small);
            var batch = new DecodeBatch();
            for (var i = 0; i < 24; i++)
            {
                batch.Add(3 + (37 * i % 1900), i, output: i == 23);
            }

            context.Decode(batch);
            return (context.Logits(23).ToArray(), context.Memory);
        }

        var kept = Run(keepLayout: true);
        var free = Run(keepLayout: false);

        kept.Memory.Should().NotContain(m => m.Buffer.Contains("REPACK") && m.Model > 0);
        var norm = Math.Sqrt(free.Logits.Sum(x => (double)x * x));
        Math.Sqrt(free.Logits.Zip(kept.Logits).Sum(p => Math.Pow(p.First - p.Second, 2))).Should().BeLessThan(0.02 * norm, "both are the same products of 4-bit weights and 8-bit rows");
    }

    [Fact]
    public void SetVectors_WrongWidth_KeepsTheOldOnes()
    {
        using var model = LlamaModel.Load(file.Path);
        using var context = new LlamaContext(model, Small);
        var good = RandomVectors.Dense(Width, 1);
        context.SetVectors([good]);

        var attach = () => context.SetVectors([RandomVectors.Dense(Width + 1, 1)]);

        attach.Should().Throw<YapoException>().Which.Kind.Should().Be(YapoErrorKind.Mismatch);
        context.Vectors.Should().Equal(good);
    }

    [Fact]
    public void SetVectors_LayerOutOfRange_NamesTheLayer()
    {
        using var model = LlamaModel.Load(file.Path);
        using var context = new LlamaContext(model, Small);

        var attach = () => context.SetVectors([RandomVectors.Dense(Width, 9)]);

        attach.Should().Throw<YapoException>().WithMessage("*9*");
    }

    [Fact]
    public void Captured_AroundADenseVector_DiffersByStrengthTimesTheVector()
    {
        using var model = LlamaModel.Load(file.Path);
        using var context = new LlamaContext(model, Small);
        var vector = RandomVectors.Dense(Width, 1);
        context.SetVectors([vector]);
        context.SetCapture((1, CaptureSite.BeforeSteering), (1, CaptureSite.AfterSteering));
        var tokens = model.Tokenize("what is the model");
        float[] strengths = [0, 1.5f, 0, -2, 0.5f];
        var batch = new DecodeBatch(1);
        for (var i = 0; i < strengths.Length; i++)
        {
            batch.Add(tokens[i], i, output: i == 4, rowStrengths: [strengths[i]]);
        }

        context.Decode(batch);
        var (before, after) = (new float[5 * Width], new float[5 * Width]);
        context.CopyCaptured(0, before);
        context.CopyCaptured(1, after);

        for (var i = 0; i < after.Length; i++)
        {
            after[i].Should().BeApproximately(before[i] + (strengths[i / Width] * vector.Value.Span[i % Width]), 1e-5f, $"entry {i}");
        }

        after.AsSpan(0, Width).SequenceEqual(before.AsSpan(0, Width)).Should().BeTrue("strength 0 changes no bit");
    }

    [Fact]
    public void LogProbs_AnyRow_AreTheLogSoftmaxOfItsLogits()
    {
        using var model = LlamaModel.Load(file.Path);
        using var context = new LlamaContext(model, Small);
        var batch = Prompt(model.Tokenize("what is"));
        context.Decode(batch);

        var logits = context.Logits(batch.Count - 1);
        var found = context.LogProbs(batch.Count - 1, [5, 300]);

        var max = logits.Max();
        var norm = max + Math.Log(logits.Sum(x => Math.Exp((double)x - max)));
        found[0].Should().BeApproximately(logits[5] - norm, 1e-12);
        found[1].Should().BeApproximately(logits[300] - norm, 1e-12);
        context.Invoking(c => c.Logits(0)).Should().Throw<YapoException>("row 0 asked for no output").Which.Kind.Should().Be(YapoErrorKind.InvalidArgument);
    }

    [Fact]
    public void Decode_CancelledToken_ThrowsAndTheContextGoesOn()
    {
        using var model = LlamaModel.Load(file.Path);
        using var context = new LlamaContext(model, Small);
        using var source = new CancellationTokenSource();
        source.Cancel();

        context.Invoking(c => c.Decode(Prompt(model.Tokenize("what")), source.Token)).Should().Throw<OperationCanceledException>();

        var batch = Prompt(model.Tokenize("what"));
        context.Decode(batch);
        context.Logits(batch.Count - 1).Should().OnlyContain(x => float.IsFinite(x));
    }

    [Fact]
    public void Cancel_FromAnotherThreadWhileDecoding_StopsItAndLeavesTheCacheAsItWas()
    {
        using var model = LlamaModel.Load(file.Path);
        using var context = new LlamaContext(model, Small with { MicroBatchSize = 8 });
        var batch = Prompt([.. Enumerable.Repeat(300, 250)]);
        using var finished = new ManualResetEventSlim();
        var canceller = new Thread(() =>
        {
            while (!finished.Wait(0))
            {
                context.Cancel();
            }
        });
        canceller.Start();

        try
        {
            context.Invoking(c => c.Decode(batch)).Should().Throw<OperationCanceledException>();
        }
        finally
        {
            finished.Set();
            canceller.Join();
        }

        context.Decode(batch);
        context.Logits(249).Should().OnlyContain(x => float.IsFinite(x));
    }

    [Fact]
    public void Decode_NoRoomLeft_SaysHowMuchThereIs()
    {
        using var model = LlamaModel.Load(file.Path);
        using var context = new LlamaContext(model, Small);
        context.Decode(Prompt([.. Enumerable.Repeat(300, 256)]));
        var batch = new DecodeBatch();
        batch.Add(300, 256, output: true);

        context.Invoking(c => c.Decode(batch)).Should().Throw<YapoException>().WithMessage("*256*");
    }

    private static DecodeBatch Prompt(int[] tokens)
    {
        var batch = new DecodeBatch();
        for (var i = 0; i < tokens.Length; i++)
        {
            batch.Add(tokens[i], i, output: i == tokens.Length - 1);
        }

        return batch;
    }
}

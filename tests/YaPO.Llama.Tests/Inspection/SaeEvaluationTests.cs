using YaPO.Llama.Inspection;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Inspection;

/// <summary>sae eval on SAEs whose figures are known in advance, and against a slow double-precision oracle.</summary>
public sealed class SaeEvaluationTests : NativeTest, IClassFixture<RandomModelFile>
{
    private const int Layer = 1;
    private readonly LlamaModel model;
    private readonly TemporaryFolder folder = new();
    private readonly int[][] windows;

    public SaeEvaluationTests(RandomModelFile file)
    {
        model = LlamaModel.Load(file.Path);
        windows = [model.Tokenize("what is the model of the user and what does it eat"), model.Tokenize("the old bridge"), [RandomModel.Bos]];
    }

    private int Width => model.Info.ModelWidth;

    public override void Dispose()
    {
        model.Dispose();
        folder.Dispose();
        base.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Run_PerfectSae_RecoversEverything(bool topK)
    {
        // relu(h) and relu(-h) rebuild h exactly; half of the 2 D latents are active.
        using var sae = Save(topK ? Width : 0, sign: 1, bias: new float[Width]);

        var report = Run(sae);

        report.Tokens.Should().Be(windows.Sum(w => w.Length - 1));
        report.Predictions.Should().Be(windows.Sum(w => Math.Max(0, w.Length - 2)));
        report.L0.Should().BeApproximately(Width, 0.05 * Width);
        report.ExplainedVariance.Should().BeApproximately(1, 1e-6);
        report.LossReconstructed.Should().BeApproximately(report.Loss, 1e-4);
        report.RecoveredFromZero.Should().BeApproximately(1, 1e-3);
        report.LossZero.Should().NotBeApproximately(report.Loss, 1e-3);
        report.Rate.Count(r => r == 0).Should().Be(report.Dead);
    }

    [Fact]
    public void Run_SaeWithoutDecoder_IsTheAblation()
    {
        using (var zero = Save(0, sign: 0, bias: new float[Width]))
        {
            var report = Run(zero);
            report.LossReconstructed.Should().BeApproximately(report.LossZero, 1e-5);
            report.RecoveredFromZero.Should().BeApproximately(0, 1e-3);
            report.ExplainedVariance.Should().BeLessThan(0.01);
        }

        using var mean = Save(0, sign: 0, bias: MeanResidual());
        var againstMean = Run(mean);
        againstMean.LossReconstructed.Should().BeApproximately(againstMean.LossMean, 1e-5);
        againstMean.ExplainedVariance.Should().BeApproximately(0, 1e-6);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(12)]
    public void Run_RandomSae_AgreesWithOracle(int topK)
    {
        using var sae = SaeFile.Open(RandomSae.Save(folder.File("random.gguf"), Width, 400, Layer, topK));
        var report = Run(sae);

        var (error, variance, active, fired) = (0.0, 0.0, 0, new HashSet<int>());
        var mean = MeanResidual();
        foreach (var h in Residuals())
        {
            var z = SaeCodes.Of(sae, h);
            for (var i = 0; i < Width; i++)
            {
                var rebuilt = (double)sae.DecBias[i];
                for (var j = 0; j < z.Length; j++)
                {
                    rebuilt += z[j] * SaeCodes.Decoder(sae)[(j * Width) + i];
                }

                error += (h[i] - rebuilt) * (h[i] - rebuilt);
                variance += (h[i] - mean[i]) * (h[i] - mean[i]);
            }

            active += z.Count(x => x > 0);
            fired.UnionWith(Enumerable.Range(0, z.Length).Where(j => z[j] > 0));
        }

        report.ExplainedVariance.Should().BeApproximately(1 - (error / variance), 1e-4);
        var fit = SaeFit.Measure(sae, Residuals().SelectMany(r => r).ToArray(), threads: 2);
        fit.ExplainedVariance.Should().BeApproximately(1 - (error / variance), 1e-4);
        fit.L0.Should().BeApproximately(report.L0, 0.1);
        report.L0.Should().BeApproximately(active / (double)report.Tokens, 0.1, "a gate within rounding of its threshold may fall either side");
        report.Dead.Should().BeCloseTo(400 - fired.Count, 1);
        if (topK > 0)
        {
            report.L0.Should().BeLessThanOrEqualTo(topK);
        }
    }

    [Fact]
    public void Run_PlainLoss_IsTheScorersAndBosIsLeftOut()
    {
        using var sae = Save(0, sign: 1, bias: new float[Width]);
        using var scorer = new Scorer(model, new ScorerOptions { Context = new ContextOptions { ContextSize = 64, Threads = 1, Sequences = 1 } });
        var expected = 0.0;
        foreach (var window in windows.Where(w => w.Length > 2))
        {
            expected -= scorer.Score(new ScoreRequest(window[..2], window[2..])).LogProb;
        }

        var report = Run(sae);

        (report.Loss * report.Predictions).Should().BeApproximately(expected, 1e-3 * Math.Abs(expected));
    }

    [Fact]
    public void Run_Misfits_AreRefusedByName()
    {
        using var wide = SaeFile.Open(RandomSae.Save(folder.File("wide.gguf"), Width * 2, 50, Layer));
        using var deep = SaeFile.Open(RandomSae.Save(folder.File("deep.gguf"), Width, 50, 9));
        using var good = SaeFile.Open(RandomSae.Save(folder.File("good.gguf"), Width, 50, Layer));

        FluentActions.Invoking(() => Run(wide)).Should().Throw<YapoException>().WithMessage($"*wide.gguf*d_model {Width * 2}*{Width}*").Which.Kind.Should().Be(YapoErrorKind.Mismatch);
        FluentActions.Invoking(() => Run(deep)).Should().Throw<YapoException>().WithMessage("*layer 9*blocks 0*").Which.Kind.Should().Be(YapoErrorKind.Mismatch);
        FluentActions.Invoking(() => new SaeEvaluation(model, good, [[RandomModel.Bos, 9]])).Should().Throw<YapoException>().Which.Kind.Should().Be(YapoErrorKind.Format);
        using var evaluation = new SaeEvaluation(model, good, windows, threads: 1);
        FluentActions.Invoking(() => evaluation.Run(new CancellationToken(canceled: true))).Should().Throw<OperationCanceledException>();
    }

    private SaeEvaluationReport Run(SaeFile sae)
    {
        var seen = new List<double>();
        using var evaluation = new SaeEvaluation(model, sae, windows, threads: 1, new Relay(seen));
        var report = evaluation.Run();
        seen.Should().BeInAscendingOrder().And.EndWith(1.0);
        return report;
    }

    private float[] MeanResidual()
    {
        var rows = Residuals();
        return [.. Enumerable.Range(0, Width).Select(i => (float)rows.Average(r => (double)r[i]))];
    }

    private List<float[]> Residuals()
    {
        var rows = new List<float[]>();
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 64, Threads = 1 });
        context.SetCapture((Layer, CaptureSite.BeforeSteering));
        foreach (var window in windows)
        {
            var batch = new DecodeBatch();
            foreach (var token in window)
            {
                batch.Add(token, batch.Count, output: true);
            }

            context.Remove(-1, 0);
            context.Decode(batch);
            var captured = new float[window.Length * Width];
            context.CopyCaptured(0, captured);
            rows.AddRange(Enumerable.Range(1, window.Length - 1).Select(t => captured[(t * Width)..((t + 1) * Width)]));
        }

        return rows;
    }

    // Encoder [I, −I], decoder sign · [I, −I].
    private SaeFile Save(int topK, float sign, float[] bias)
    {
        var path = folder.File($"{Guid.NewGuid():N}.gguf");
        var (enc, dec) = (new float[2 * Width * Width], new float[2 * Width * Width]);
        for (var i = 0; i < Width; i++)
        {
            (enc[(i * Width) + i], enc[((Width + i) * Width) + i]) = (1, -1);
            (dec[(i * Width) + i], dec[((Width + i) * Width) + i]) = (sign, -sign);
        }

        var info = new SaeInfo { Layer = Layer, DModel = Width, Width = 2 * Width, Activation = topK > 0 ? SaeActivation.TopK : SaeActivation.JumpRelu, TopK = topK };
        SaeWriter.Save(path, info, new SaeWeights(enc, new float[2 * Width], new float[2 * Width], dec, bias));
        return SaeFile.Open(path);
    }

    private sealed class Relay(List<double> seen) : IProgress<double>
    {
        public void Report(double value) => seen.Add(value);
    }
}

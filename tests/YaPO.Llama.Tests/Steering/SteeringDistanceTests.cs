using YaPO.Llama.Evaluation;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Steering;

public sealed class SteeringDistanceTests(RandomModelFile model) : NativeTest, IClassFixture<RandomModelFile>
{
    private static readonly TestSae Sae = new(1);

    [Fact]
    public void Measure_AgreesWithASlowOracle()
    {
        using var loaded = LlamaModel.Load(model.Path);
        int[][] windows = [loaded.Tokenize("what is the tea in the other model"), loaded.Tokenize("the hat"), loaded.Tokenize("no start of text", addSpecial: false)];
        SteeringSetting[] reference = [Setting(Sae.Vector(0, "low", 1, 30, 2), 0.7f), Setting(Sae.Vector(2, "last", 2, 40, 1) with { Positions = SteeringPositions.Generated }, 1.5f)];
        SteeringSetting[] other = [Setting(VectorBuilder.Dense(Sae.Vector(2, "last", 2, 40, 1).Flatten(), 2, "flat"), 1.5f)];

        using var meter = new SteeringDistanceMeter(loaded, windows, reference, 1);
        var distance = meter.Measure(other);

        var kl = 0.0;
        var (change, gap) = (new double[2], new double[2]);
        var tokens = 0;
        foreach (var window in windows)
        {
            var (p, deltaP) = Run(loaded, window, reference);
            var (q, deltaQ) = Run(loaded, window, other);
            for (var t = window[0] == loaded.Info.BosToken ? 1 : 0; t < window.Length; t++)
            {
                var (a, b) = (Softmax(p[t]), Softmax(q[t]));
                kl += a.Zip(b, (x, y) => x * Math.Log(x / y)).Sum();
                tokens++;
                for (var layer = 0; layer < 2; layer++)
                {
                    var (x, y) = (deltaP[2 * layer][t], deltaQ[2 * layer][t]);
                    change[layer] += Math.Sqrt(x.Sum(d => d * d));
                    gap[layer] += Math.Sqrt(x.Zip(y, (c, d) => (c - d) * (c - d)).Sum());
                }
            }
        }

        distance.Tokens.Should().Be(tokens);
        distance.Kl.Should().BeApproximately(kl / tokens, 1e-6).And.BeGreaterThan(1e-3);
        distance.Layers.Select(l => l.Layer).Should().Equal(0, 2);
        for (var i = 0; i < 2; i++)
        {
            distance.Layers[i].Change.Should().BeApproximately(change[i] / tokens, 1e-4);
            distance.Layers[i].Gap.Should().BeApproximately(gap[i] / change[i], 1e-4);
        }

        distance.Layers[0].Gap.Should().BeApproximately(1, 1e-9, "the other does nothing at that layer");
    }

    [Fact]
    public void Measure_TheSame_IsZero_AndAgainAfterAnother()
    {
        using var loaded = LlamaModel.Load(model.Path);
        SteeringSetting[] reference = [Setting(Sae.Vector(1, "v", 2, 40, 1), 1)];
        using var meter = new SteeringDistanceMeter(loaded, [loaded.Tokenize("what is the tea")], reference, 1);

        for (var i = 0; i < 2; i++)
        {
            meter.Measure(reference).Should().BeEquivalentTo(new { Kl = 0.0, Layers = new[] { new { Layer = 1, Gap = 0.0 } } });
            meter.Measure([]).Kl.Should().BeGreaterThan(1e-4);
        }

        FluentActions.Invoking(() => new SteeringDistanceMeter(loaded, [], reference)).Should().Throw<YapoException>();
        FluentActions.Invoking(() => new SteeringDistanceMeter(loaded, [[2, 6]], [Setting(VectorBuilder.Dense(new float[7], 1, "narrow"), 1)])).Should().Throw<YapoException>();
    }

    [Fact]
    public void Divergence_LargeAndTinyLogits_AgreesWithTheDefinition()
    {
        var random = new Random(2);
        foreach (var scale in new[] { 1e-3, 1, 30, 300 })
        {
            float[] Row() => [.. Enumerable.Range(0, 200).Select(_ => (float)(scale * ((2 * random.NextDouble()) - 1)))];
            var (p, q) = (Row(), Row());
            var (zp, zq) = (LogSum(p), LogSum(q));
            var expected = p.Zip(q, (x, y) => Math.Exp(x - zp) * (x - zp - (y - zq))).Sum();

            SteeringDistanceMeter.Divergence(p, q).Should().BeApproximately(expected, 1e-9 * Math.Max(1, expected));
            SteeringDistanceMeter.Divergence(p, p).Should().Be(0);
        }

        static double LogSum(float[] x)
        {
            double largest = x.Max();
            return largest + Math.Log(x.Sum(v => Math.Exp(v - largest)));
        }
    }

    private static SteeringSetting Setting(SteeringVector v, float strength) => SteeringSetting.Create(v, strength);

    /// <summary>Logits and, per layer, what was added; every position but BOS steered.</summary>
    private static (float[][] Logits, double[][][] Deltas) Run(LlamaModel loaded, int[] window, SteeringSetting[] settings)
    {
        var d = loaded.Info.ModelWidth;
        using var context = new LlamaContext(loaded, new ContextOptions { ContextSize = 64, Threads = 1 });
        context.SetVectors([.. settings.Select(s => s.Vector)]);
        context.SetCapture([.. Enumerable.Range(0, 3).SelectMany(l => new[] { (l, CaptureSite.BeforeSteering), (l, CaptureSite.AfterSteering) })]);
        var batch = new DecodeBatch(settings.Length);
        for (var t = 0; t < window.Length; t++)
        {
            batch.Add(window[t], t, 0, true, [.. settings.Select(s => window[t] == loaded.Info.BosToken ? 0 : s.Strength)]);
        }

        context.Decode(batch);
        var (before, after) = (new float[window.Length * d], new float[window.Length * d]);
        var deltas = new double[3][][];
        for (var l = 0; l < 3; l++)
        {
            context.CopyCaptured(2 * l, before);
            context.CopyCaptured((2 * l) + 1, after);
            deltas[l] = [.. before.Zip(after, (x, y) => (double)y - x).Chunk(d)];
        }

        return ([.. Enumerable.Range(0, window.Length).Select(context.Logits)], deltas);
    }

    private static double[] Softmax(float[] logits)
    {
        var e = logits.Select(x => Math.Exp((double)x - logits.Max())).ToArray();
        return [.. e.Select(x => x / e.Sum())];
    }
}

using System.Text.Json;
using YaPO.Llama.Training.Checkpoints;
using YaPO.Llama.Randomness;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Training;

public sealed class VectorOptimizerTests
{
    private const int P = 12;
    private const int Pairs = 20;

    private static readonly VectorOptimizerOptions Options = new()
    {
        Steps = 40, BatchSize = 6, LearningRate = 0.02, WarmupSteps = 4, RefitSteps = 10, MaxFeatures = 5, Seed = 3, ValidateEvery = 5,
    };

    [Fact]
    public void Objective_AtZero_IsExactlyLn2()
    {
        using var engine = new FakePairEngine(Pairs, Latents());
        var result = new PreferenceObjective(engine, 0.1).Evaluate([0, 1, 2], new float[P], -1, new float[P]);
        result.Loss.Should().Be(Math.Log(2));
        result.Margin.Should().Be(0);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(-1)]
    public void Objective_Gradient_AgreesWithFiniteDifferences(double direction)
    {
        using var engine = new FakePairEngine(Pairs, Latents());
        var objective = new PreferenceObjective(engine, 0.7);
        var random = new SeededRandom(1, "v");
        var v = Enumerable.Range(0, P).Select(_ => (float)random.NextGaussian()).ToArray();
        var gradient = new float[P];
        int[] pairs = [3, 1, 7, 9];
        objective.Evaluate(pairs, v, direction, gradient);
        for (var k = 0; k < P; k++)
        {
            const float h = 1e-2f;
            var (up, down) = (v.ToArray(), v.ToArray());
            up[k] += h;
            down[k] -= h;
            var expected = (objective.Evaluate(pairs, up, direction).Loss - objective.Evaluate(pairs, down, direction).Loss) / ((double)up[k] - down[k]);
            ((double)gradient[k]).Should().BeApproximately(expected, 1e-4 + (1e-3 * Math.Abs(expected)), $"entry {k}");
        }
    }

    [Fact]
    public void Run_SeparablePairs_LossFallsAndTheStrongestEntriesAreKept()
    {
        using var folder = new TemporaryFolder();
        using var engine = new FakePairEngine(Pairs, Latents());
        var result = Run(engine, Options, log: folder.File("log"));
        var losses = File.ReadLines(folder.File("log")).Select(l => JsonDocument.Parse(l).RootElement.GetProperty("loss").GetDouble()).ToArray();
        losses.Should().HaveCount(50);
        losses[0].Should().Be(Math.Log(2));
        losses[^1].Should().BeLessThan(0.9 * losses[0]);
        result.Value.Should().HaveCount(5);
        result.Sparsification!.Kept.Should().Be(5);
        for (var k = 0; k < 5; k++)
        {
            // The fake rewards μv along the direction for chosen sequences: the sign of each entry is known.
            Math.Sign(result.Value[k]).Should().Be(Math.Sign(engine.Direction[result.Latents.Index[k]]));
        }

        result.Sparsification.Refitted.Loss.Should().BeLessThanOrEqualTo(result.Sparsification.Pruned.Loss);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public void Run_MoreWorkers_GivesTheSameBits(int workers)
    {
        using var one = new FakePairEngine(Pairs, Latents());
        using var many = new FakePairEngine(Pairs, Latents(), workers);
        Run(many, Options).Value.Should().Equal(Run(one, Options).Value);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    public void Run_KilledAnywhereAndResumed_GivesTheSameBits(int validation)
    {
        using var folder = new TemporaryFolder();
        using var whole = new FakePairEngine(Pairs + validation, Latents());
        var expected = Run(whole, Options, validation: validation);
        var killed = 0;
        // 12 gradients per step: a kill inside step 8, step 21 and, in the refit, step 44 — and one that is not reached.
        foreach (var stop in new[] { 90, 160, 275, int.MaxValue })
        {
            using var engine = new FakePairEngine(Pairs + validation, Latents()) { BeforeGradient = n => { if (n == stop) { throw new InvalidOperationException("kill"); } } };
            try
            {
                Run(engine, Options, folder.File("checkpoint"), folder.File("log"), validation).Value.Should().Equal(expected.Value);
            }
            catch (InvalidOperationException)
            {
                killed++;
            }
        }

        killed.Should().BeGreaterThan(0);
        File.ReadLines(folder.File("log")).Select(l => JsonDocument.Parse(l).RootElement.GetProperty("step").GetInt64())
            .Should().Equal(Enumerable.Range(1, (int)expected.Steps).Select(i => (long)i));
    }

    [Fact]
    public void Run_Cancelled_SavesTheStateAndThrows()
    {
        using var folder = new TemporaryFolder();
        using var stop = new CancellationTokenSource();
        using var engine = new FakePairEngine(Pairs, Latents()) { BeforeGradient = n => { if (n == 100) { stop.Cancel(); } } };
        var checkpoints = new CheckpointFolder(folder.File("c"), "test", "{}");
        var run = () => new VectorOptimizer(engine, Latents(), Ones(), Pairs, 0, Options).Run(checkpoints, null, 1e9, null, null, stop.Token);
        run.Should().Throw<OperationCanceledException>();
        checkpoints.Load()!.Step.Should().Be(8, "the ninth step was cut short");
    }

    [Fact]
    public void Checkpoint_StepSavedTwiceAndKilledBetweenStateAndIndex_IsStillWhole()
    {
        using var folder = new TemporaryFolder();
        var checkpoints = new CheckpointFolder(folder.File("c"), "test", "{}");
        checkpoints.Save(60, 1, path => File.WriteAllText(path, "before the phase ended"));

        // What a kill leaves: the state is written, the index is not.
        var killed = () => checkpoints.Save(60, 2, path => { File.WriteAllText(path, "after"); throw new OperationCanceledException(); });

        killed.Should().Throw<OperationCanceledException>();
        var left = new CheckpointFolder(folder.File("c"), "test", "{}");
        File.ReadAllText(left.Load()!.StateFile).Should().Be("before the phase ended");
        left.Save(60, 3, path => File.WriteAllText(path, "after"));
        File.ReadAllText(new CheckpointFolder(folder.File("c"), "test", "{}").Load()!.StateFile).Should().Be("after");
        Directory.GetFiles(folder.File("c")).Should().HaveCount(2, "the index and one state");
    }

    [Fact]
    public void Run_WithValidation_KeepsTheBestVectorAndStopsEarly()
    {
        // Far too high a rate: the loss on validation gets worse again after a few steps.
        var options = Options with { LearningRate = 1.5, Steps = 400, WarmupSteps = 0, MaxFeatures = 0, ValidateEvery = 1, Patience = 4 };
        using var engine = new FakePairEngine(Pairs + 8, Latents());
        var result = Run(engine, options, validation: 8);
        result.Steps.Should().BeLessThan(400);
        var objective = new PreferenceObjective(engine, options.Beta);
        objective.Evaluate([.. Enumerable.Range(Pairs, 8)], result.Value, 1).Loss.Should().Be(result.Validation!.Value.Loss);
        result.Validation.Value.Loss.Should().BeLessThan(Math.Log(2));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    public void Run_RateFarTooHigh_IsStoppedAndSaysSo(int validation)
    {
        using var engine = new FakePairEngine(Pairs + 8, Latents()) { ChosenCurvature = 2 };
        var wild = Options with { LearningRate = 40, Steps = 200, WarmupSteps = 0, MaxFeatures = 0, ValidateEvery = 1, Patience = 0, GradientClip = 0 };
        FluentActions.Invoking(() => Run(engine, wild, validation: validation)).Should().Throw<YapoException>().WithMessage("*diverged*--learning-rate*");
    }

    [Fact]
    public void Run_ThatDivergesLate_KeepsTheBestValidatedVectorAndSaysSo()
    {
        using var engine = new FakePairEngine(Pairs + 8, Latents()) { ChosenCurvature = 2 };
        var late = Options with { LearningRate = 40, Steps = 400, WarmupSteps = 399, MaxFeatures = 0, ValidateEvery = 1, Patience = 0, GradientClip = 0 };
        var result = Run(engine, late, validation: 8);
        result.DivergedAt.Should().BeInRange(2, 399);
        result.Steps.Should().Be(result.DivergedAt);
        result.Validation!.Value.Loss.Should().BeLessThan(Math.Log(2));
    }

    [Fact]
    public void Run_Dense_TrainsWithoutPruning()
    {
        var latents = new LatentSet(0, LatentRows.Dense(P));
        using var engine = new FakePairEngine(Pairs, latents);
        var result = new VectorOptimizer(engine, latents, Ones(), Pairs, 0, Options).Run(null, null, 1e9, null, null, CancellationToken.None);
        result.Value.Should().HaveCount(P);
        result.Steps.Should().Be(Options.Steps);
        result.Sparsification.Should().BeNull();
    }

    [Fact]
    public void Sparsifier_TopK_KeepsWhatTookMostOffTheLoss()
    {
        float[] v = [0.5f, -9f, -0.4f, 0f, 1f];
        double[] credit = [0.2, -0.1, 0.3, 5, 0.1];
        Sparsifier.TopK(v, credit, 2).Should().Equal(0, 2);
        Sparsifier.TopK(v, credit, 0).Should().Equal(0, 2, 4);
    }

    [Fact]
    public void Sparsifier_Shrink_IsTheProximalStepOfL1()
    {
        float[] v = [1f, -1f, 0.05f, -0.05f];
        Sparsifier.Shrink(v, 0.1, [1f, 2f, 1f, 1f]);
        v.Should().Equal(0.9f, -0.8f, 0f, 0f);
    }

    [Fact]
    public void SteeringImpact_AgreesWithAScalarOracle()
    {
        const int d = 6, p = 9, n = 15;
        const double strength = 1.3;
        var random = new SeededRandom(2, "impact");
        float[] Random(int count, double scale) => [.. Enumerable.Range(0, count).Select(_ => (float)(scale * random.NextGaussian()))];
        var latents = new LatentRows([.. Enumerable.Range(0, p)], Random(p * d, 1), Random(p, 0.3), [.. Random(p, 0.3).Select(Math.Abs)], Random(p * d, 1), d);
        var (v, rows) = (Random(p, 1), Random(n * d, 2));
        var (relative, gap, delta, clippedRows) = (0.0, 0.0, 0.0, 0);
        for (var r = 0; r < n; r++)
        {
            var (change, flat) = (new double[d], new double[d]);
            var clipped = false;
            for (var k = 0; k < p; k++)
            {
                var pre = (double)latents.EncBias[k] + Enumerable.Range(0, d).Sum(i => (double)latents.Enc[(k * d) + i] * rows[(r * d) + i]);
                var z = pre > latents.Threshold[k] && pre > 0 ? pre : 0;
                var c = Math.Max(strength * v[k], -z);
                clipped |= z > 0 && z < -strength * v[k];
                for (var i = 0; i < d; i++)
                {
                    change[i] += c * latents.Dec[(k * d) + i];
                    flat[i] += strength * v[k] * latents.Dec[(k * d) + i];
                }
            }

            double Norm(IEnumerable<double> x) => Math.Sqrt(x.Sum(y => y * y));
            relative += Norm(change) / Norm(rows.Skip(r * d).Take(d).Select(x => (double)x)) / n;
            gap += Norm(change.Zip(flat, (a, b) => a - b));
            delta += Norm(change);
            clippedRows += clipped ? 1 : 0;
        }

        var impact = SteeringImpact.Measure(latents, v, strength, rows, 1);
        impact.RelativeMean.Should().BeApproximately(relative, 1e-5);
        impact.DeltaMean.Should().BeApproximately(delta / n, 1e-4);
        impact.FlattenGap.Should().BeApproximately(gap / delta, 1e-5);
        impact.ClippedRows.Should().Be(clippedRows / (double)n);
    }

    private static LatentSet Latents() => new(0, new LatentRows([.. Enumerable.Range(0, P)], new float[P], new float[P], new float[P], [.. Enumerable.Repeat(1f, P)], 1));

    private static float[] Ones() => [.. Enumerable.Repeat(1f, P)];

    private static OptimizedVector Run(FakePairEngine engine, VectorOptimizerOptions options, string? checkpoints = null, string? log = null, int validation = 0)
    {
        var folder = checkpoints is null ? null : new CheckpointFolder(checkpoints, "test", "{}");
        return new VectorOptimizer(engine, Latents(), Ones(), Pairs, validation, options)
            .Run(folder, folder?.Load(), 0, log, null, CancellationToken.None);
    }
}

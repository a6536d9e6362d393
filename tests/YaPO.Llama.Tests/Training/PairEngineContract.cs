using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Training;

/// <summary>What every pair engine promises, on every architecture that can be trained through.</summary>
public abstract class PairEngineContract(IPairEngineFactory factory) : NativeTest
{
    public static TheoryData<string, string> Cases()
    {
        var cases = new TheoryData<string, string>();
        foreach (var variant in UpperWorld.Variants)
        {
            foreach (var kind in UpperWorld.Kinds)
            {
                cases.Add(variant, kind);
            }
        }

        return cases;
    }

    /// <summary>Along the gradient itself, where the slope is its norm: single precision leaves about three digits of a central difference.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void Gradient_IsTheSlopeOfTheLogProbability(string variant, string kind)
    {
        using var world = new UpperWorld(variant);
        using var engine = world.Create(factory);
        var (latents, v) = UpperWorld.Vector(kind);
        engine.SetLatents(latents);
        foreach (var multiplier in new[] { 1.0, -1.0 })
        {
            var gradient = new float[v.Length];
            var value = engine.LogProbGradient(0, 0, v, multiplier, 1, gradient);
            value.Should().BeApproximately(engine.LogProb(0, 0, v, multiplier), 1e-4);
            var norm = Math.Sqrt(gradient.Sum(g => (double)g * g));
            norm.Should().BeGreaterThan(0.1);
            double At(double step) => engine.LogProb(0, 0, Array.ConvertAll(v.Zip(gradient).ToArray(), x => (float)(x.First + (step * x.Second / norm))), multiplier);

            var slope = (At(5e-3) - At(-5e-3)) / 1e-2;

            slope.Should().BeApproximately(norm, 0.02 * norm, $"multiplier {multiplier}");
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void NoVector_AndMultiplierZero_AreTheModelItself(string variant, string kind)
    {
        using var world = new UpperWorld(variant);
        using var engine = world.Create(factory);
        var unsteered = engine.LogProb(0, 1, [], 1);
        var (latents, v) = UpperWorld.Vector(kind);
        engine.SetLatents(latents);

        engine.LogProb(0, 1, v, 0).Should().Be(unsteered);
        engine.LogProb(0, 1, new float[v.Length], 1).Should().BeApproximately(unsteered, 1e-5);
        engine.LogProb(0, 1, v, 1).Should().Match(x => Math.Abs(x - unsteered) > 0.01);
    }

    [Fact]
    public void Gradient_IsScaledAndAdded()
    {
        using var world = new UpperWorld("gemma2");
        using var engine = world.Create(factory);
        var (latents, v) = UpperWorld.Vector("sparse");
        engine.SetLatents(latents);
        var (once, added) = (new float[v.Length], Enumerable.Repeat(1f, v.Length).ToArray());

        engine.LogProbGradient(0, 0, v, -1, 1, once);
        engine.LogProbGradient(0, 0, v, -1, -0.5, added);

        added.Zip(once, (a, g) => Math.Abs(a - (1 - (0.5 * g)))).Max().Should().BeLessThan(1e-5f * Math.Max(1, once.Max(Math.Abs)));
    }

    /// <summary>At v = 0 a latent that fires nowhere does not move, whatever its decoder row would do: support is the data's.</summary>
    [Fact]
    public void Gradient_AtZero_IsOfActiveLatentsOnly()
    {
        using var world = new UpperWorld("llama");
        using var engine = world.Create(factory);
        var (latents, v) = UpperWorld.Vector("sparse");
        var (layer, rows) = latents.Blocks[0];
        var threshold = rows.Threshold.Select((t, k) => k % 2 == 0 ? 1e6f : t).ToArray();
        engine.SetLatents(new LatentSet(layer, rows with { Threshold = threshold }));
        var gradient = new float[v.Length];

        engine.LogProbGradient(0, 0, new float[v.Length], 1, 1, gradient);

        gradient.Where((_, k) => k % 2 == 0).Should().OnlyContain(g => g == 0);
        gradient.Where((_, k) => k % 2 == 1).Should().Contain(g => Math.Abs(g) > 1e-3);
    }

    [Fact]
    public void SetLatents_Again_TakesTheOthersPlace()
    {
        using var world = new UpperWorld("qwen3");
        using var engine = world.Create(factory);
        var (latents, v) = UpperWorld.Vector("two blocks");
        int[] kept = [1, 4, 30, 31, 50];
        var part = new LatentSet([.. latents.Blocks.Take(2)]);
        var sparse = new float[part.Parameters];
        foreach (var k in kept.Where(k => k < sparse.Length))
        {
            sparse[k] = v[k];
        }

        kept = [.. kept.Where(k => k < sparse.Length)];
        engine.SetLatents(part);
        var whole = engine.LogProb(0, 0, sparse, 1);
        engine.SetLatents(part.Select(kept));

        engine.LogProb(0, 0, Array.ConvertAll(kept, k => sparse[k]), 1).Should().BeApproximately(whole, 1e-5);
        FluentActions.Invoking(() => engine.LogProb(0, 0, sparse, 1)).Should().Throw<ArgumentException>().WithMessage($"*expected {kept.Length}*");
        FluentActions.Invoking(() => engine.LogProbGradient(0, 0, Array.ConvertAll(kept, k => sparse[k]), 1, 1, new float[3])).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void LatentsOfAnotherModel_AreRefused()
    {
        using var world = new UpperWorld("qwen2");
        using var engine = world.Create(factory);

        FluentActions.Invoking(() => engine.SetLatents(new LatentSet(UpperWorld.Layer, LatentRows.Dense(UpperWorld.Width + 1)))).Should().Throw<YapoException>();
        FluentActions.Invoking(() => engine.SetLatents(new LatentSet(UpperWorld.Layer - 1, LatentRows.Dense(UpperWorld.Width)))).Should().Throw<YapoException>();
        FluentActions.Invoking(() => engine.SetLatents(new LatentSet(9, LatentRows.Dense(UpperWorld.Width)))).Should().Throw<YapoException>();
    }
}

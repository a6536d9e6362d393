using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Steering;

public sealed class VectorPruningTests
{
    private static readonly TestSae Sae = new(1);

    private static SteeringVector Sample => Sae.Vector(1, "v", 2, 40, 1) with { RecommendedStrength = 1.5f };

    [Fact]
    public void Score_WithRates_IsTheMeanEffectOfEachFeature()
    {
        foreach (var vector in new[] { Sample, Sample with { RecommendedStrength = -2 }, Sample with { Max = null } })
        {
            var (scores, ranking) = VectorPruning.Score(vector);

            ranking.Should().Be(FeatureRanking.Effect);
            for (var j = 0; j < vector.K; j++)
            {
                var row = vector.Dec.AsSpan(j * 64, 64).ToArray();
                var norm = Math.Sqrt(row.Sum(x => (double)x * x));
                var c = (double)vector.RecommendedStrength * vector.Value[j];
                // Turned up: the constant c at every token. Turned down: only where it fires, and no further than it ever fires.
                var expected = c > 0 ? c : vector.Rate![j] * Math.Min(-c, vector.Max?[j] ?? double.PositiveInfinity);
                scores[j].Should().BeApproximately(expected * norm, 1e-9);
            }
        }
    }

    [Fact]
    public void Score_WithoutRates_IsTheMagnitude()
    {
        var vector = Sample with { Rate = null };
        var (scores, ranking) = VectorPruning.Score(vector);

        ranking.Should().Be(FeatureRanking.Magnitude);
        scores[7].Should().BeApproximately(Math.Abs(vector.Value[7]) * Math.Sqrt(vector.Dec.Skip(7 * 64).Take(64).Sum(x => (double)x * x)), 1e-9);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(39)]
    public void KeepTop_KeepsTheBestWithAllTheirRows(int count)
    {
        var vector = Sample;
        var (scores, _) = VectorPruning.Score(vector);
        var best = Enumerable.Range(0, 40).OrderByDescending(j => scores[j]).Take(count).Order().ToArray();

        var pruned = VectorPruning.KeepTop(vector, count);

        var kept = pruned.Kept;
        kept.Validate(64, "kept");
        kept.Index.Should().Equal(best.Select(j => vector.Index[j]));
        kept.Should().BeEquivalentTo(
            Sae.Vector(1, "v", [.. best.Select(j => (vector.Index[j], vector.Value[j]))]) with { RecommendedStrength = 1.5f },
            o => o.Using<SteeringPositions>(c => c.Subject.Should().Be(c.Expectation)).WhenTypeIs<SteeringPositions>());
        pruned.ScoreShare.Should().BeApproximately(best.Sum(j => scores[j]) / scores.Sum(), 1e-12);
        var (all, left) = (vector.Flatten(), kept.Flatten());
        pruned.FlattenedGap.Should().BeApproximately(
            Math.Sqrt(all.Zip(left, (a, b) => ((double)a - b) * ((double)a - b)).Sum() / all.Sum(a => (double)a * a)), 1e-6);
    }

    [Fact]
    public void KeepTop_AsManyAsThereAre_ChangesNothing()
    {
        var vector = Sample;
        VectorPruning.KeepTop(vector, 40).Kept.Should().BeSameAs(vector);
        VectorPruning.KeepTop(vector, 400).Should().BeEquivalentTo(new { ScoreShare = 1.0, FlattenedGap = 0.0 });
        FluentActions.Invoking(() => VectorPruning.KeepTop(vector, 0)).Should().Throw<YapoException>();
    }

    [Fact]
    public void CountForMass_IsTheFewestThatHoldIt()
    {
        var vector = Sample;
        foreach (var mass in new[] { 0.01, 0.5, 0.9, 0.999, 1 })
        {
            var count = VectorPruning.CountForMass(vector, mass);

            VectorPruning.KeepTop(vector, count).ScoreShare.Should().BeGreaterThanOrEqualTo(mass - 1e-12);
            if (count > 1 && mass < 1)
            {
                VectorPruning.KeepTop(vector, count - 1).ScoreShare.Should().BeLessThan(mass);
            }
        }

        VectorPruning.CountForMass(vector, 1).Should().Be(40);
    }

    [Fact]
    public void CountForDivergence_FindsTheStepWithFewMeasurements()
    {
        foreach (var most in new[] { 1, 2, 255, 256, 10_000 })
        {
            for (var step = 1; step <= most; step += Math.Max(1, most / 13))
            {
                var calls = 0;
                VectorPruning.CountForDivergence(most, 0.5, k =>
                {
                    calls++;
                    return k >= step ? 0.5 : 0.6;
                }).Should().Be(step);
                calls.Should().BeLessThanOrEqualTo((int)Math.Ceiling(Math.Log2(most + 1)));
            }
        }
    }
}

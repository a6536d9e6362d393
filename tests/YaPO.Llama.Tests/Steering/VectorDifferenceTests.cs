using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Steering;

public sealed class VectorDifferenceTests
{
    private static readonly TestSae Sae = new(1);

    [Fact]
    public void Of_TwoVectorsOfOneSae_MatchesTheFormulas()
    {
        var a = Sae.Vector(1, "a", (2, 1f), (5, -2f), (9, 3f));
        var b = Sae.Vector(1, "b", (5, -1f), (9, 3f), (11, 4f));

        var difference = VectorDifference.Of(a, b);

        difference.Should().BeEquivalentTo(new { Comparable = true, Common = 2, OnlyA = 1, OnlyB = 1, Jaccard = 0.5 });
        difference.LatentCosine.Should().BeApproximately((2 + 9) / Math.Sqrt((1 + 4 + 9) * (1 + 9 + 16)), 1e-12);
        var (x, y) = (a.Flatten(), b.Flatten());
        var dot = x.Zip(y, (p, q) => (double)p * q).Sum();
        difference.FlattenedCosine.Should().BeApproximately(dot / Math.Sqrt(x.Sum(p => (double)p * p) * y.Sum(p => (double)p * p)), 1e-9);
        difference.Largest.Should().Equal(new FeatureDifference(11, 0, 4, "feature 11"), new FeatureDifference(2, 1, 0, "feature 2"), new FeatureDifference(5, -2, -1, "feature 5"));
    }

    [Fact]
    public void Of_TheSameVector_IsEqualInAll()
    {
        var a = Sae.Vector(1, "a", 2, 20, 1);

        var same = VectorDifference.Of(a, a);
        var opposite = VectorDifference.Of(a, a with { Value = [.. a.Value.Select(x => -2 * x)] });

        same.Jaccard.Should().Be(1);
        same.LatentCosine.Should().BeApproximately(1, 1e-12);
        same.FlattenedCosine.Should().BeApproximately(1, 1e-12);
        same.Largest.Should().BeEmpty();
        VectorDifference.Fields(a, a).Should().BeEmpty();
        opposite.LatentCosine.Should().BeApproximately(-1, 1e-12);
        opposite.Jaccard.Should().Be(1);
    }

    [Fact]
    public void Of_OtherSaeOrKind_ComparesDirectionsOnly()
    {
        var a = Sae.Vector(1, "a", 2, 20, 1);
        foreach (var other in new[] { new TestSae(2).Vector(1, "b", 2, 20, 1), VectorBuilder.Dense(a.Flatten(), 1, "dense") })
        {
            var difference = VectorDifference.Of(a, other);

            difference.Comparable.Should().BeFalse();
            difference.Jaccard.Should().BeNull();
            difference.LatentCosine.Should().BeNull();
            difference.FlattenedCosine.Should().NotBeNull();
        }

        VectorDifference.Of(a, VectorBuilder.Dense(a.Flatten(), 1, "dense")).FlattenedCosine.Should().BeApproximately(1, 1e-9);
        VectorDifference.Of(a, VectorBuilder.Dense(new float[64], 1, "zero")).FlattenedCosine.Should().BeNull("the zero vector has no direction");
        VectorDifference.Of(a, VectorBuilder.Dense([1, 2], 1, "narrow")).FlattenedCosine.Should().BeNull();
    }

    [Fact]
    public void Of_Files_PairsByLayerThenKindAndSae_AndNamesFieldsThatDiffer()
    {
        var dense = VectorBuilder.Dense(new float[64], 1, "dense");
        var a = TestSae.File("a", dense, Sae.Vector(1, "x", 2, 3, 1), Sae.Vector(2, "lonely", 2, 3, 1));
        var b = TestSae.File("b", Sae.Vector(1, "y", 2, 3, 2) with { RecommendedStrength = 2 }, dense with { Positions = SteeringPositions.Generated }, dense with { Layer = 0 });

        var (pairs, onlyA, onlyB) = VectorDifference.Of(a, b);

        pairs.Select(p => (p.A.Name, p.B.Name)).Should().Equal(("dense", "dense"), ("x", "y"));
        onlyA.Select(v => v.Name).Should().Equal("lonely");
        onlyB.Select(v => v.Layer).Should().Equal(0);
        VectorDifference.Fields(a, b).Should().Equal(new FieldDifference("general.name", "a", "b"));
        VectorDifference.Fields(pairs[0].A, pairs[0].B).Should().Equal(new FieldDifference("positions", "all", "generated"));
        VectorDifference.Fields(pairs[1].A, pairs[1].B).Select(f => f.Name).Should().Equal("name", "strength.recommended");
    }
}

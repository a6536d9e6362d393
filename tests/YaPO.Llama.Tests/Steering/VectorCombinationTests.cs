using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Steering;

/// <summary>A combined file does on the model what its parts do together, to the rounding of Σ λ_i v_i.</summary>
public sealed class VectorCombinationTests(RandomModelFile model) : NativeTest, IClassFixture<RandomModelFile>
{
    private const int Width = 64;
    private static readonly TestSae OneSae = new(1);
    private static readonly TestSae OtherSae = new(2);

    private static SteeringVector Dense(int layer, int seed, float scale = 1) =>
        VectorBuilder.Dense([.. Enumerable.Range(0, Width).Select(i => scale * (float)Math.Sin((i * 7) + seed))], layer, $"dense {seed}");

    private static CombinedPart Part(SteeringFile file, float? strength = null, SteeringPositions? positions = null) => new($"{file.Name}.ysv", file, file.Name, strength, positions);

    [Fact]
    public void Combine_OverlappingSupportsOfOneSae_IsAttachingBoth()
    {
        var a = TestSae.File("a", OneSae.Vector(1, "a", 2, 40, 1));
        var b = TestSae.File("b", OneSae.Vector(1, "b", 20, 40, 2));

        foreach (var (s, t) in new[] { (1f, -0.5f), (2.5f, 0.3f), (-1f, -4f) })
        {
            var combined = VectorCombination.Combine([Part(a, s), Part(b, t)], "c");

            combined.Vectors.Should().ContainSingle().Which.K.Should().Be(a.Vectors[0].Index.Union(b.Vectors[0].Index).Count()).And.BeLessThan(80);
            Same(Logits(combined), Logits((a.Vectors[0], s), (b.Vectors[0], t)));
        }
    }

    [Fact]
    public void Combine_JointlyClippedFeatures_AreRemovedOnceNotTwice()
    {
        // Each takes away less than is active on some tokens; together more than all of it.
        (int, float)[] down = [.. Enumerable.Range(0, 60).Select(i => (2 * i, -0.4f))];
        var (a, b) = (TestSae.File("a", OneSae.Vector(1, "a", down)), TestSae.File("b", OneSae.Vector(1, "b", down)));

        var combined = VectorCombination.Combine([Part(a, 1), Part(b, 1)], "c");
        var together = Logits((a.Vectors[0], 1), (b.Vectors[0], 1));

        Same(Logits(combined), together);
        var apart = Logits((WithoutIdentity(a.Vectors[0]), 1), (WithoutIdentity(b.Vectors[0]), 1));
        apart.Zip(together, (x, y) => Math.Abs(x - y)).Max().Should().BeGreaterThan(1e-3f, "independent corrections would remove features twice");
    }

    [Fact]
    public void Combine_ManyKindsAndLayers_IsAttachingAll_AndSeparateEntriesStaySeparate()
    {
        var a = TestSae.File("a", OneSae.Vector(1, "a", 2, 40, 1), Dense(0, 1), Dense(2, 2), OneSae.Vector(0, "a low", 1, 5, 6));
        var b = TestSae.File("b", OtherSae.Vector(1, "b other", 2, 30, 3), OneSae.Vector(1, "b", 20, 20, 4), Dense(2, 3), WithoutIdentity(OneSae.Vector(2, "unknown sae", 2, 10, 5)));

        var combined = VectorCombination.Combine([Part(a, 1.5f), Part(b, -0.75f)], "c");

        combined.Vectors.Select(v => (v.Layer, v.Kind, v.SaeId)).Should().Equal(
            (1, VectorKind.Sparse, OneSae.Reference.Id), (0, VectorKind.Dense, 0UL), (2, VectorKind.Dense, 0UL), (0, VectorKind.Sparse, OneSae.Reference.Id),
            (1, VectorKind.Sparse, OtherSae.Reference.Id), (2, VectorKind.Sparse, 0UL));
        Same(Logits(combined), Logits([.. a.Vectors.Select(v => (v, 1.5f)), .. b.Vectors.Select(v => (v, -0.75f))]));
    }

    [Fact]
    public void Combine_TopKVectors_IsAttachingBothThroughTheWholeSae()
    {
        using var folder = new TemporaryFolder();
        using var sae = SaeFile.Open(RandomSae.Save(folder.File("topk.gguf"), Width, 100, 1, topK: 20));
        var a = TestSae.File("a", VectorBuilder.Sparse(sae, [1, 30, 77], [9f, -9f, 9f], "a"));
        var b = TestSae.File("b", VectorBuilder.Sparse(sae, [30, 31], [-9f, -5f], "b"));

        var combined = VectorCombination.Combine([Part(a, 0.5f), Part(b, 2)], "c");

        combined.Vectors[0].Index.Should().Equal(1, 30, 31, 77);
        Same(Logits(sae, [.. combined.Vectors.Select(v => (v, 1f))]), Logits(sae, (a.Vectors[0], 0.5f), (b.Vectors[0], 2)));
    }

    [Fact]
    public void Combine_OtherPositions_StaySeparateEntriesThatStillActJointly()
    {
        (int, float)[] down = [.. Enumerable.Range(0, 60).Select(i => (2 * i, -0.4f))];
        var a = TestSae.File("a", OneSae.Vector(1, "a", down));

        var combined = VectorCombination.Combine([Part(a, 1), Part(a, 1, SteeringPositions.Window(3, 5))], "c");

        combined.Vectors.Select(v => v.Positions.ToString()).Should().Equal("all", "3-5");
        Same(Logits(combined), Logits([(a.Vectors[0], 1), (a.Vectors[0] with { Positions = SteeringPositions.Window(3, 5) }, 1)]));
    }

    [Fact]
    public void Combine_FromSixteenBitFiles_KeepsTheRowsThatWereRead()
    {
        using var folder = new TemporaryFolder();
        SteeringFile Stored(string name, SteeringVector v, GgmlType type)
        {
            TestSae.File(name, v with { DecType = type }).Save(folder.File(name));
            return SteeringFile.Load(folder.File(name));
        }

        var f16 = Stored("f16", OneSae.Vector(1, "a", 2, 20, 1), GgmlType.F16);
        var bf16 = Stored("bf16", OneSae.Vector(1, "b", 20, 20, 2), GgmlType.BF16);

        VectorCombination.Combine([Part(f16, 1), Part(f16, 2)], "c").Vectors[0].DecType.Should().Be(GgmlType.F16);
        var combined = VectorCombination.Combine([Part(f16, 1), Part(bf16, 1)], "c");
        combined.Vectors[0].DecType.Should().Be(GgmlType.F32);
        combined.Save(folder.File("c.ysv"));
        Same(Logits(SteeringFile.Load(folder.File("c.ysv"))), Logits((f16.Vectors[0], 1), (bf16.Vectors[0], 1)));
    }

    [Fact]
    public void Combine_RecordsWhereItCameFrom()
    {
        var a = TestSae.File("a", OneSae.Vector(1, "a", 2, 4, 1) with { PositiveMeans = "more a", RecommendedStrength = 2, MaxStrength = 3, HNormMean = 7 }) with { License = "mit", Author = "x" };
        var b = TestSae.File("b", OneSae.Vector(1, "b", 2, 4, 2) with { PositiveMeans = "more b", HNormMean = 7 }) with { License = "cc0", Author = "x", Base = a.Base with { Quantization = "Q8_0" } };

        var combined = VectorCombination.Combine([Part(a), Part(b, -0.5f)], "both");

        combined.Should().BeEquivalentTo(new { Name = "both", License = "mit AND cc0", Author = "x", Train = (TrainingRecord?)null, Evidence = "" });
        combined.Parents.Should().Equal("a", "b");
        combined.Base.Fingerprint.Should().Be(a.Base.Fingerprint);
        combined.Base.Quantization.Should().BeEmpty();
        combined.Vectors[0].Should().BeEquivalentTo(new { Name = "a + b", RecommendedStrength = 1f, MaxStrength = (float?)null, HNormMean = 7f, PositiveMeans = "2 × (more a); -0.5 × (more b)" });
        combined.Vectors[0].Value[0].Should().Be((2 * a.Vectors[0].Value[0]) + (-0.5f * b.Vectors[0].Value[0]));
        combined.Vectors[0].Labels.Should().Equal("feature 2", "feature 5", "feature 8", "feature 11");
    }

    [Fact]
    public void Combine_WhatCancels_IsDropped_AndNothingLeftIsRefused()
    {
        var a = TestSae.File("a", OneSae.Vector(1, "a", (3, 2f), (4, 1f)));
        var b = TestSae.File("b", OneSae.Vector(1, "b", (4, 1f), (9, 5f)));

        VectorCombination.Combine([Part(a, 1), Part(b, -1)], "c").Vectors[0].Index.Should().Equal(3, 9);
        Refused([Part(a, 1), Part(a, -1)], YapoErrorKind.InvalidArgument, "*cancel*");
        Refused([Part(a, 0), Part(TestSae.File("d", Dense(1, 1)), 0)], YapoErrorKind.InvalidArgument, "*strengths are 0*");
    }

    [Fact]
    public void Combine_WhatDoesNotBelongTogether_IsRefusedWithTheReason()
    {
        var a = TestSae.File("a", OneSae.Vector(1, "a", 2, 4, 1));
        Refused([Part(a), Part(a with { Base = a.Base with { Fingerprint = new string('b', 64) } })], YapoErrorKind.Mismatch, "*aaaaaaaaaaaa*bbbbbbbbbbbb*different models*");
        Refused([Part(a), Part(TestSae.File("wide", VectorBuilder.Dense(new float[96], 1, "wide")))], YapoErrorKind.Mismatch, "*d_model 96*64*");

        var v = a.Vectors[0];
        var threshold = v with { Threshold = [.. v.Threshold[..3], 9f] };
        var encoder = v with { Enc = [.. v.Enc[..^1], v.Enc[^1] + 1e-6f] };
        var decoder = v with { Dec = [.. v.Dec[..^1], v.Dec[^1] + 1f] };
        foreach (var other in new[] { threshold, encoder, decoder })
        {
            Refused([Part(a), Part(TestSae.File("b", other))], YapoErrorKind.Mismatch, "*rows of feature 11 differ*");
        }

        Refused([Part(a), Part(TestSae.File("b", v with { Sae = v.Sae! with { Width = 9999 } }))], YapoErrorKind.Mismatch, "*512 features*9999*");
    }

    private static void Refused(CombinedPart[] parts, YapoErrorKind kind, string message) =>
        FluentActions.Invoking(() => VectorCombination.Combine(parts, "c")).Should().Throw<YapoException>().Where(e => e.Kind == kind).WithMessage(message);

    /// <summary>Logits of order 1; what differs otherwise differs by more than 1e-3 (see <see cref="Combine_JointlyClippedFeatures_AreRemovedOnceNotTwice"/>).</summary>
    private static void Same(float[] actual, float[] expected) => actual.Zip(expected, (x, y) => Math.Abs(x - y)).Max().Should().BeLessThan(2e-5f);

    private static SteeringVector WithoutIdentity(SteeringVector v) => v with { Sae = v.Sae! with { Sha256 = "" } };

    private float[] Logits(SteeringFile file) => Logits([.. file.Vectors.Select(v => (v, v.RecommendedStrength))]);

    private float[] Logits(params (SteeringVector Vector, float Strength)[] attached) => Logits(null, attached);

    /// <summary>Logits of every position of a fixed text.</summary>
    private float[] Logits(SaeFile? sae, params (SteeringVector Vector, float Strength)[] attached)
    {
        using var loaded = LlamaModel.Load(model.Path);
        using var context = new LlamaContext(loaded, new ContextOptions { ContextSize = 64, Threads = 1 });
        var settings = attached.Select(a => SteeringSetting.Create(a.Vector, a.Strength, sae: sae)).ToArray();
        context.SetVectors([.. settings.Select(s => s.Vector)]);
        var tokens = loaded.Tokenize("what is the tea in the other model");
        var batch = new DecodeBatch(settings.Length);
        for (var i = 0; i < tokens.Length; i++)
        {
            batch.Add(tokens[i], i, 0, output: true, [.. settings.Select(s => s.At(i, i == 0 ? TokenRole.Bos : TokenRole.Prompt))]);
        }

        context.Decode(batch);
        return [.. Enumerable.Range(0, tokens.Length).SelectMany(context.Logits)];
    }
}

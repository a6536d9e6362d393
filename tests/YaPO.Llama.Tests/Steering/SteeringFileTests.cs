using YaPO.Llama.Gguf;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Steering;

public sealed class SteeringFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string Save(SteeringFile file, string name = "x.ysv")
    {
        file.Save(_folder.File(name));
        return _folder.File(name);
    }

    /// <summary>Writes a valid file with some keys or tensors replaced, as a newer or hostile program might.</summary>
    private string Patched(Func<string, GgufValue, GgufValue?> key, Func<string, float[], float[]>? tensor = null)
    {
        using var source = GgufFile.Open(Save(SampleVectors.File(SampleVectors.Sparse()), "source.ysv"));
        var writer = new GgufWriter();
        foreach (var (name, value) in source.Metadata)
        {
            if (key(name, value) is { } kept)
            {
                writer.Set(name, kept);
            }
        }

        foreach (var t in source.Tensors)
        {
            if (t.Type == GgmlType.I32)
            {
                writer.AddTensor(t.Name, [.. t.Shape], source.ReadInt32(t));
            }
            else
            {
                var values = source.ReadFloats(t);
                writer.AddTensor(t.Name, t.Type, [.. t.Shape], tensor?.Invoke(t.Name, values) ?? values);
            }
        }

        writer.Save(_folder.File("patched.ysv"));
        return _folder.File("patched.ysv");
    }

    [Fact]
    public void SaveThenLoad_EveryField_ComesBack()
    {
        var file = SampleVectors.File(SampleVectors.Sparse(), SampleVectors.Dense(), SampleVectors.Sparse(k: 1, layer: 0, seed: 9) with { Rate = null, Max = null, Labels = null, DecType = GgmlType.BF16 });

        var loaded = SteeringFile.Load(Save(file));

        loaded.Should().BeEquivalentTo(
            file with { Train = file.Train! with { Config = """{"beta":0.1,"steps":3}""" }, Evidence = """{"a":"ü","b":[1,2.5]}""" },
            o => o.Excluding(x => x.Vectors[2].Dec).Using<SteeringPositions>(c => c.Subject.Should().Be(c.Expectation)).WhenTypeIs<SteeringPositions>());
        loaded.Vectors[2].Dec.Zip(file.Vectors[2].Dec).Max(p => Math.Abs(p.First - p.Second)).Should().BeLessThan(0.5f / 256).And.BeGreaterThan(0);
    }

    [Fact]
    public void Save_Twice_GivesTheSameBytes_AlsoAfterLoading()
    {
        var first = Save(SampleVectors.File(SampleVectors.Sparse(), SampleVectors.Dense()), "1.ysv");
        var second = Save(SampleVectors.File(SampleVectors.Sparse(), SampleVectors.Dense()), "2.ysv");
        var third = Save(SteeringFile.Load(first), "3.ysv");

        File.ReadAllBytes(second).Should().Equal(File.ReadAllBytes(first));
        File.ReadAllBytes(third).Should().Equal(File.ReadAllBytes(first));
        SteeringFile.Sha256(third).Should().Be(SteeringFile.Sha256(first)).And.HaveLength(64);
    }

    [Fact]
    public void Load_UnknownKeys_AreIgnored()
    {
        using var source = GgufFile.Open(Save(SampleVectors.File(SampleVectors.Dense())));
        var writer = new GgufWriter();
        foreach (var (name, value) in source.Metadata)
        {
            writer.Set(name, value);
        }

        writer.Set("yapo.vector.0.future", 3u).AddTensor("v.0.value", GgmlType.F32, [8], new float[8]).AddTensor("v.0.future", GgmlType.Q4_K, [256], s => s.Write(new byte[144]));
        writer.Save(_folder.File("future.ysv"));

        SteeringFile.Load(_folder.File("future.ysv")).Vectors.Should().ContainSingle();
    }

    [Fact]
    public void Load_UnknownVersion_IsRefused() =>
        FluentActions.Invoking(() => SteeringFile.Load(Patched((k, v) => k == "yapo.format_version" ? v with { Data = 2u } : v)))
            .Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Unsupported).WithMessage("*format version 2*expected 1*");

    [Theory]
    [InlineData("yapo.vector.0.operator", "clamp", YapoErrorKind.Unsupported, "*operator 'clamp'*")]
    [InlineData("yapo.vector.0.kind", "odd", YapoErrorKind.Unsupported, "*kind 'odd'*")]
    [InlineData("yapo.vector.0.activation", "odd", YapoErrorKind.Unsupported, "*activation 'odd'*")]
    [InlineData("yapo.vector.0.positions", "odd", YapoErrorKind.Format, "*positions 'odd'*")]
    [InlineData("yapo.evidence", "{\"a\":", YapoErrorKind.Format, "*'yapo.evidence' is not valid JSON*")]
    [InlineData("yapo.evidence", "{\"a\":1,\"a\":2}", YapoErrorKind.Format, "*'yapo.evidence' is not valid JSON*")]
    [InlineData("general.architecture", "llama", YapoErrorKind.Format, "*'llama', expected 'yapo-steering'*")]
    public void Load_BadText_IsRefusedWithAReason(string key, string text, YapoErrorKind kind, string message) =>
        FluentActions.Invoking(() => SteeringFile.Load(Patched((k, v) => k == key ? v with { Data = text } : v)))
            .Should().Throw<YapoException>().Where(e => e.Kind == kind).WithMessage(message);

    [Theory]
    [InlineData("yapo.d_model", 9u, "*'v.0.dec' has shape [8, 3], expected [9, 3]*")]
    [InlineData("yapo.d_model", 0u, "*d_model 0*")]
    [InlineData("yapo.n_vectors", 2u, "*'yapo.vector.1.layer'*missing*")]
    [InlineData("yapo.n_vectors", 4000000000u, "*n_vectors 4000000000*")]
    [InlineData("yapo.vector.0.layer", 4000000000u, "*layer 2147483647 is out of range*")]
    [InlineData("yapo.vector.0.sae.width", 12u, "*index[2] = 12*0 … 11*")]
    public void Load_BadNumber_IsRefusedWithAReason(string key, uint number, string message) =>
        FluentActions.Invoking(() => SteeringFile.Load(Patched((k, v) => k == key ? v with { Data = number } : v)))
            .Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Format).WithMessage(message);

    [Theory]
    [InlineData("v.0.value", float.NaN)]
    [InlineData("v.0.enc", float.PositiveInfinity)]
    [InlineData("v.0.enc_bias", float.NegativeInfinity)]
    [InlineData("v.0.threshold", float.PositiveInfinity)]
    [InlineData("v.0.dec", float.NaN)]
    [InlineData("v.0.rate", float.NaN)]
    public void Load_NotFinite_NamesTheEntry(string tensor, float value) =>
        FluentActions.Invoking(() => SteeringFile.Load(Patched((_, v) => v, (name, values) => name == tensor ? [values[0], value, .. values[2..]] : values)))
            .Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Format).WithMessage($"*vector 0 'egypt': {tensor[4..]}[1] is *finite*");

    [Fact]
    public void Load_MissingKeyOrTensor_NamesIt()
    {
        FluentActions.Invoking(() => SteeringFile.Load(Patched((k, v) => k == "yapo.vector.0.kind" ? null : v)))
            .Should().Throw<YapoException>().WithMessage("*'yapo.vector.0.kind' (str) is missing*");
    }

    [Fact]
    public void Save_Inconsistent_IsRefusedAndLeavesNoFile()
    {
        var good = SampleVectors.Sparse();
        foreach (var (bad, message) in new (SteeringVector, string)[]
        {
            (good with { Index = [2, 2, 12] }, "*must ascend*"),
            (good with { Index = [2, 7] }, "*value has 3 values, expected 2*"),
            (good with { Enc = new float[7] }, "*enc has 7 values, expected 24*"),
            (good with { Sae = null }, "*SAE*"),
            (good with { MinStrength = 4 }, "*strength*"),
            (good with { RecommendedStrength = float.NaN }, "*strength*"),
            (good with { Labels = ["one"] }, "*1 labels for 3 features*"),
            (good with { DecType = GgmlType.F16, Dec = [.. good.Dec[1..], 1e6f] }, "*F16*"),
            (good with { DecType = GgmlType.Q8_0 }, "*not as Q8_0*"),
            (good with { Layer = -1 }, "*layer -1*"),
            (SampleVectors.Dense() with { Value = [1] }, "*value has 1 values, expected 8*"),
        })
        {
            FluentActions.Invoking(() => Save(SampleVectors.File(bad))).Should().Throw<YapoException>().WithMessage(message);
        }

        Directory.GetFiles(_folder.Path).Should().BeEmpty();
    }

    [Fact]
    public void SaeId_ComesFromTheHash_ZeroWithoutOne()
    {
        SampleVectors.Sparse().SaeId.Should().Be(0x0011223344556677);
        SampleVectors.Dense().SaeId.Should().Be(0);
        new SaeReference { Sha256 = "00000000000000001234" }.Id.Should().Be(1);
        new SaeReference { Sha256 = "short" }.Id.Should().Be(0);
        new SaeReference { Sha256 = "not hexadecimal at all" }.Id.Should().Be(0);
    }

    [Fact]
    public void NegativeMassAndFlatten_MatchTheirFormulas()
    {
        var vector = SampleVectors.Sparse() with { Value = [1, -3, 0.5f] };

        vector.NegativeMass.Should().BeApproximately(3 / 4.5, 1e-12);
        var flat = vector.Flatten();
        for (var i = 0; i < SampleVectors.D; i++)
        {
            flat[i].Should().BeApproximately(vector.Dec[i] - (3 * vector.Dec[8 + i]) + (0.5f * vector.Dec[16 + i]), 1e-6f);
        }
    }

    [Fact]
    public void Load_ControlVector_GivesDenseVectorsAtTheSameBlock()
    {
        new GgufWriter().Set("general.architecture", "controlvector").Set("controlvector.model_hint", "gemma2").Set("controlvector.layer_count", 2)
            .AddTensor("direction.12", GgmlType.F32, [4], new float[] { 1, 2, 3, 4 })
            .AddTensor("direction.3", GgmlType.F32, [4], new float[] { 5, 6, 7, 8 }).Save(_folder.File("cv.gguf"));

        var file = SteeringFile.Load(_folder.File("cv.gguf"));

        file.DModel.Should().Be(4);
        file.Base.Architecture.Should().Be("gemma2");
        file.Vectors.Select(v => (v.Layer, v.Kind)).Should().Equal((3, VectorKind.Dense), (12, VectorKind.Dense));
        file.Vectors[1].Value.Should().Equal(1, 2, 3, 4);
        file.Vectors.Should().OnlyContain(v => v.Positions == SteeringPositions.AllAndBos, "llama.cpp steers every position");
    }

    /// <summary>
    /// A file of llama.cpp's own generator: <c>llama-cvector-generator -m models/demo/demo-f16.gguf --method mean</c> on three pairs of sentences, at v0.5.0.
    /// Its direction.L was measured after block L − 1 and is applied after block L.
    /// </summary>
    [Fact]
    public void Load_FileOfTheGenerator_KeepsItsLayers()
    {
        var file = SteeringFile.Load(Path.Combine(AppContext.BaseDirectory, "Steering", "Golden", "cvector-generator.gguf"));

        file.DModel.Should().Be(256);
        file.Base.Architecture.Should().Be("gemma2");
        file.Vectors.Select(v => (v.Layer, v.Kind, v.Name)).Should().Equal((1, VectorKind.Dense, "direction.1"), (2, VectorKind.Dense, "direction.2"), (3, VectorKind.Dense, "direction.3"));
        file.Vectors[1].Value[0].Should().BeApproximately(0.019520f, 1e-6f, "the generator printed its first value");
        file.Vectors[2].Value[4].Should().BeApproximately(0.097687f, 1e-6f);
    }

    [Theory]
    [InlineData("direction.0", 4, "*L >= 1*")]
    [InlineData("direction.x", 4, "*L >= 1*")]
    [InlineData("direction.2", 5, "*value has 5 values, expected 4*")]
    [InlineData("direction.01", 4, "*appears twice*")]
    public void Load_BadControlVector_IsRefused(string name, int n, string message)
    {
        new GgufWriter().Set("general.architecture", "controlvector").AddTensor("direction.1", GgmlType.F32, [4], new float[4])
            .AddTensor(name, GgmlType.F32, [n], new float[n]).Save(_folder.File("cv.gguf"));

        FluentActions.Invoking(() => SteeringFile.Load(_folder.File("cv.gguf"))).Should().Throw<YapoException>().WithMessage(message);
    }
}

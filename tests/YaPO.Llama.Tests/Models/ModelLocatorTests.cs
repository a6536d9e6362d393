using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Models;

public sealed class ModelLocatorTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("yapo-models-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void Find_OneMatchAmongOthers_TakesItWhereverItLies()
    {
        var wanted = Model("deep/er/wanted.gguf");
        Model("other.gguf", seed: 8);
        File.WriteAllText(Path.Combine(folder, "broken.gguf"), "no model");

        var found = new ModelLocator([folder]).Find(ModelFingerprint.Compute(wanted).ToBaseModel());

        found.Path.Should().Be(wanted);
        found.Reason.Should().Contain("only");
        found.Alternatives.Should().BeEmpty();
    }

    [Fact]
    public void Find_SeveralQuantizations_PrefersTheExactFileThenTheQuantizationThenPrecision()
    {
        var f32 = Model("a-f32.gguf");
        var q8 = Path.Combine(folder, "b-q8.gguf");
        var f16 = Path.Combine(folder, "c-f16.gguf");
        var copy = Path.Combine(folder, "d-q8-other-bytes.gguf");
        LlamaModel.Quantize(f32, q8, "q8_0", 1);
        LlamaModel.Quantize(f32, f16, "f16", 1);
        File.Copy(q8, copy);
        File.AppendAllText(copy, new string('\0', 32));
        var identity = ModelFingerprint.Compute(q8);
        identity.Fingerprint.Should().Be(ModelFingerprint.Compute(f32).Fingerprint, "quantization leaves the fingerprint alone");
        var locator = new ModelLocator([folder]);

        locator.Find(identity.ToBaseModel(InputFile.Sha256(copy))).Should().Match<LocatedModel>(m => m.Path == copy && m.Reason.Contains("exact") && m.Alternatives.Count == 3);
        locator.Find(identity.ToBaseModel("00")).Should().Match<LocatedModel>(m => m.Path == q8 && m.Reason.Contains("Q8_0"));
        locator.Find(identity.ToBaseModel("00") with { Quantization = "Q4_K_M" }).Should().Match<LocatedModel>(m => m.Path == f32 && m.Reason.Contains("highest"));
    }

    [Fact]
    public void Find_NoMatch_SaysWhatWasExpectedAndFound()
    {
        var other = Model("other.gguf", seed: 8);
        var wanted = new BaseModel { Architecture = "gemma2", Name = "wanted model", Fingerprint = new string('a', 64) };

        new ModelLocator([folder]).Invoking(l => l.Find(wanted)).Should().Throw<YapoException>()
            .WithMessage($"*expected wanted model (gemma2), fingerprint aaaaaaaaaaaa; found under {folder}: {other}*--model*")
            .Which.Kind.Should().Be(YapoErrorKind.Mismatch);
        new ModelLocator([folder]).Invoking(l => l.Find(BaseModel.Unknown)).Should().Throw<YapoException>().WithMessage("*does not say*--model*");
    }

    [Fact]
    public void Find_SecondTime_ReadsNoModelFile()
    {
        var path = Model("model.gguf");
        var wanted = ModelFingerprint.Compute(path).ToBaseModel();
        var stamp = File.GetLastWriteTimeUtc(path);
        new ModelLocator([folder], new FingerprintCache(folder)).Find(wanted);

        // Same size and time, other bytes: only a reader of the file could notice.
        File.WriteAllBytes(path, new byte[new FileInfo(path).Length]);
        File.SetLastWriteTimeUtc(path, stamp);
        new ModelLocator([folder], new FingerprintCache(folder)).Find(wanted).Path.Should().Be(path);

        File.SetLastWriteTimeUtc(path, stamp.AddSeconds(2));
        new ModelLocator([folder], new FingerprintCache(folder)).Invoking(l => l.Find(wanted)).Should().Throw<YapoException>("the file changed");
    }

    [Theory]
    [InlineData("{ not json")]
    [InlineData("null")]
    [InlineData("{PATH: null}")]
    public void Identity_BrokenCacheFile_IsIgnored(string content)
    {
        var path = Model("model.gguf");
        File.WriteAllText(Path.Combine(folder, "fingerprints.json"), content.Replace("PATH", System.Text.Json.JsonSerializer.Serialize(Path.GetFullPath(path)), StringComparison.Ordinal));

        new FingerprintCache(folder).Identity(path).Should().Be(ModelFingerprint.Compute(path));
    }

    [Fact]
    public void ResolveVector_BareName_IsFoundUnderTheModelFolders()
    {
        var vectors = Directory.CreateDirectory(Path.Combine(folder, "demo", "vectors")).FullName;
        var vector = Path.Combine(vectors, "egypt.ysv");
        File.WriteAllText(vector, "");
        var locator = new ModelLocator([folder]);

        locator.ResolveVector("egypt.ysv").Should().Be(vector);
        locator.ResolveVector(vector).Should().Be(vector);
        locator.ResolveVector("egypt").Should().Be(vector, "the extension may be left out");
        locator.ResolveVector(vector[..^".ysv".Length]).Should().Be(vector);
        locator.Invoking(l => l.ResolveVector("cairo.ysv")).Should().Throw<YapoException>().WithMessage($"*cairo.ysv*{folder}; there are egypt.ysv").Which.Kind.Should().Be(YapoErrorKind.Io);
        locator.Invoking(l => l.ResolveVector("*.ysv")).Should().Throw<YapoException>("a name is no pattern");
        locator.Invoking(l => l.ResolveVector("x/egypt.ysv")).Should().Throw<YapoException>("a path with a folder means that folder");
    }

    [Fact]
    public void FindModel_VectorBesideItsModel_NeedsNoModelFolder()
    {
        var model = Model("home/model.gguf");
        var path = Path.Combine(folder, "home", "v.ysv");
        var file = new SteeringFile
        {
            DModel = 64,
            Vectors = [new SteeringVector { Name = "v", Kind = VectorKind.Dense, Layer = 1, Value = new float[64] }],
            Base = ModelFingerprint.Compute(model).ToBaseModel(),
        };
        var nowhere = new ModelLocator([]);
        SteeringSource Saved(SteeringFile content)
        {
            content.Save(path);
            return SteeringSource.Load(VectorSpec.Parse(path), nowhere);
        }

        Saved(file).FindModel(nowhere).Path.Should().Be(model);
        var stranger = Saved(file with { Base = file.Base with { Fingerprint = new string('c', 64) } });
        stranger.Invoking(s => s.FindModel(nowhere)).Should().Throw<YapoException>().WithMessage($"{path}: *cccccccccccc*");
        stranger.FindModel(nowhere, allowMismatch: true).Should().Match<LocatedModel>(m => m.Path == model && m.Reason.Contains("not the model"));
        var wide = Saved(new SteeringFile { DModel = 32, Vectors = [file.Vectors[0] with { Value = new float[32] }], Base = file.Base with { Fingerprint = new string('c', 64) } });
        wide.Invoking(s => s.FindModel(nowhere, allowMismatch: true)).Should().Throw<YapoException>("no width fits either");
    }

    [Fact]
    public void Create_MissingFolder_IsAnError()
    {
        var create = () => ModelLocator.Create(Path.Combine(folder, "absent"));

        create.Should().Throw<YapoException>().WithMessage("*absent*");
    }

    [Fact]
    public void RequireFits_AnotherModel_IsRefusedUnlessAllowed()
    {
        var identity = ModelFingerprint.Compute(Model("model.gguf"));
        var vector = new SteeringVector { Name = "v", Kind = VectorKind.Dense, Layer = 1, Value = new float[64] };
        SteeringSource Source(SteeringFile file)
        {
            var path = Path.Combine(folder, "v.ysv");
            file.Save(path);
            return SteeringSource.Load(VectorSpec.Parse($"{path}:1.5@generated"), new ModelLocator([]));
        }

        var stranger = Source(new SteeringFile { DModel = 64, Vectors = [vector], Base = identity.ToBaseModel() with { Fingerprint = new string('b', 64) } });
        stranger.Settings.Should().ContainSingle().Which.Strength.Should().Be(1.5f);
        stranger.Invoking(s => s.RequireFits("m.gguf", identity)).Should().Throw<YapoException>().WithMessage("*bbbbbbbbbbbb*--allow-mismatch*");
        stranger.RequireFits("m.gguf", identity, allowMismatch: true).Should().Contain("bbbbbbbbbbbb");
        Source(new SteeringFile { DModel = 64, Vectors = [vector], Base = identity.ToBaseModel() }).RequireFits("m.gguf", identity).Should().BeNull();
        Source(new SteeringFile { DModel = 64, Vectors = [vector] }).RequireFits("m.gguf", identity).Should().Contain("does not say");

        var wide = Source(new SteeringFile { DModel = 32, Vectors = [vector with { Value = new float[32] }], Base = identity.ToBaseModel() });
        wide.Invoking(s => s.RequireFits("m.gguf", identity, allowMismatch: true)).Should().Throw<YapoException>().WithMessage("*32*64*");
        var deep = Source(new SteeringFile { DModel = 64, Vectors = [vector with { Layer = 3 }], Base = identity.ToBaseModel() });
        deep.Invoking(s => s.RequireFits("m.gguf", identity, allowMismatch: true)).Should().Throw<YapoException>().WithMessage("*layer 3*0 … 2*");
    }

    private string Model(string name, int seed = 7)
    {
        var path = Path.Combine(folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        RandomModel.WriteTo(path, new RandomModel.Settings { Seed = seed });
        return path;
    }
}

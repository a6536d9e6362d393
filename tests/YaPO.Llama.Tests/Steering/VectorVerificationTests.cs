using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Steering;

public sealed class VectorVerificationTests : IDisposable
{
    private const int Width = 32; // a block of Q8_0
    private const int Features = 40;
    private readonly TemporaryFolder _folder = new();
    private readonly SaeWeights _weights;

    public VectorVerificationTests()
    {
        var random = new Random(5);
        float[] Values(int n) => [.. Enumerable.Range(0, n).Select(_ => (float)((4 * random.NextDouble()) - 2))];
        _weights = new SaeWeights(Values(Features * Width), Values(Features), Values(Features).Select(Math.Abs).ToArray(), Values(Features * Width), Values(Width));
    }

    public void Dispose() => _folder.Dispose();

    private static SteeringFile File(SteeringVector vector) => TestSae.File("x", vector);

    private static SteeringVector Good { get; } = new TestSae(1).Vector(1, "v", 2, 5, 1) with { HNormMean = 20 };

    private static readonly ModelIdentity Model = new(new string('a', 64), "gemma2", "random", "F32", 64, 3, new string('c', 64), 1);

    [Fact]
    public void Content_Sane_IsOk() => VectorVerification.Content(File(Good)).Should().OnlyContain(c => c.Status == CheckStatus.Ok);

    [Fact]
    public void Content_WhatWillNotDoWhatItSays_Fails()
    {
        Failing(VectorVerification.Content(File(Good with { RecommendedStrength = 5, MaxStrength = 2 }))).Should().Equal("v: recommended strength");
        Failing(VectorVerification.Content(File(Good with { RecommendedStrength = -1, MinStrength = 0 }))).Should().Equal("v: recommended strength");
        Failing(VectorVerification.Content(File(Good with { RecommendedStrength = 0 }))).Should().Equal("v: recommended strength");
        Failing(VectorVerification.Content(File(Good with { HNormMean = 0.01f }))).Should().Equal("v: size at that strength");
        Failing(VectorVerification.Content(File(Good with { Value = [1, 0, 1, 1, 1] }))).Should().Equal("v: values");
        Failing(VectorVerification.Content(File(Good with { Dec = [.. new float[64], .. Good.Dec[64..]] }))).Should().Equal("v: rows");
        Failing(VectorVerification.Content(File(VectorBuilder.Dense(new float[4], 1, "d")))).Should().Equal("d: values");
        VectorVerification.Content(File(Good with { HNormMean = null })).Should().ContainSingle(c => c.Status == CheckStatus.Unknown);
    }

    [Fact]
    public void AgainstModel_EveryDifference_IsNamed()
    {
        var file = File(Good);
        file = file with { Base = file.Base with { ChatTemplateSha256 = Model.ChatTemplateSha256 } };

        VectorVerification.AgainstModel(file, Model).Should().OnlyContain(c => c.Status == CheckStatus.Ok);
        Failing(VectorVerification.AgainstModel(file, Model with { DModel = 32 })).Should().Equal("d_model");
        Failing(VectorVerification.AgainstModel(file, Model with { LayerCount = 1 })).Should().Equal("v: layer");
        Failing(VectorVerification.AgainstModel(file, Model with { Fingerprint = "b" })).Should().Equal("fingerprint");
        Failing(VectorVerification.AgainstModel(file, Model with { Architecture = "llama" })).Should().Equal("architecture");
        Failing(VectorVerification.AgainstModel(file, Model with { ChatTemplateSha256 = "" })).Should().Equal("chat template hash");
        VectorVerification.AgainstModel(file with { Base = new BaseModel { Architecture = "mistral" } }, Model).Should().NotContain(c => c.Status == CheckStatus.Failed, "it is only a hint");
        VectorVerification.AgainstModel(file with { Base = BaseModel.Unknown }, Model).Count(c => c.Status == CheckStatus.Unknown).Should().Be(3);
    }

    [Theory]
    [InlineData(GgmlType.F32, GgmlType.F32)]
    [InlineData(GgmlType.F16, GgmlType.F32)]
    [InlineData(GgmlType.Q8_0, GgmlType.F16)]
    [InlineData(GgmlType.F32, GgmlType.BF16)]
    public void AgainstSae_ItsOwnRows_AreFoundWhateverTheStorage(GgmlType saeType, GgmlType vectorType)
    {
        // The vector is made from the F32 file; the SAE it is checked against is stored otherwise.
        var vector = Save("f32.gguf", _weights, GgmlType.F32, sae => VectorBuilder.Sparse(sae, [3, 17, 39], [1, -2, 3], "v", vectorType));
        File(vector).Save(_folder.File("v.ysv"));
        var file = SteeringFile.Load(_folder.File("v.ysv"));

        Save("other.gguf", _weights, saeType, sae => VectorVerification.AgainstSae(file, sae).ToList())
            .Where(c => !c.Name.EndsWith("identity", StringComparison.Ordinal)).Should().HaveCount(2).And.OnlyContain(c => c.Status == CheckStatus.Ok);
    }

    [Fact]
    public void AgainstSae_AnotherOne_FailsWithTheFeature()
    {
        var vector = Save("f32.gguf", _weights, GgmlType.F32, sae => VectorBuilder.Sparse(sae, [3, 17, 39], [1, -2, 3], "v"));
        IEnumerable<VectorCheck> Checks(SaeWeights weights, SteeringVector v) => Save("other.gguf", weights, GgmlType.F32, sae => VectorVerification.AgainstSae(File(v), sae).ToList());
        float[] With(ReadOnlyMemory<float> values, int at, float value) => [.. values[..at].Span, value, .. values[(at + 1)..].Span];

        VectorCheck Rows(SaeWeights weights) => Checks(weights, vector).Single(c => c.Name == "v: SAE rows");
        Rows(_weights).Status.Should().Be(CheckStatus.Ok);
        Rows(_weights with { Enc = With(_weights.Enc, (17 * Width) + 2, 9) }).Found.Should().Contain("encoder of feature 17");
        Rows(_weights with { Dec = With(_weights.Dec, (39 * Width) + 2, 9) }).Found.Should().Contain("decoder of feature 39");
        Rows(_weights with { Threshold = With(_weights.Threshold, 3, 9) }).Found.Should().Contain("threshold of feature 3");
        Rows(_weights with { Threshold = With(_weights.Threshold, 4, 9) }).Status.Should().Be(CheckStatus.Ok, "feature 4 is not in the vector");
        Failing(Checks(_weights, vector with { Layer = 7 })).Should().Equal("v: SAE shape");
        Failing(Checks(_weights, vector with { Sae = vector.Sae! with { Sha256 = "no" } })).Should().Equal("v: SAE identity");
    }

    private T Save<T>(string name, SaeWeights weights, GgmlType type, Func<SaeFile, T> use)
    {
        SaeWriter.Save(_folder.File(name), new SaeInfo { Layer = 1, DModel = Width, Width = Features, SourceSha256 = new string('1', 64) }, weights, type);
        using var sae = SaeFile.Open(_folder.File(name));
        return use(sae);
    }

    private static IEnumerable<string> Failing(IEnumerable<VectorCheck> checks) => checks.Where(c => c.Status == CheckStatus.Failed).Select(c => c.Name);
}

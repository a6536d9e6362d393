using YaPO.Llama.Models;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Gguf;

/// <summary>The promise of the fingerprint against llama.cpp's own quantizer.</summary>
public sealed class ModelFingerprintNativeTests : NativeTest
{
    private readonly TemporaryFolder _folder = new();

    public override void Dispose()
    {
        _folder.Dispose();
        base.Dispose();
    }

    [Fact]
    public void Compute_QuantizedByLlamaCpp_GivesTheSameFingerprint()
    {
        using var source = new RandomModel(new RandomModel.Settings { Width = 256 });
        var expected = ModelFingerprint.Compute(source.Path);

        foreach (var (type, name) in new[] { ("f16", "F16"), ("q8_0", "Q8_0"), ("q4_k_m", "Q4_K_M") })
        {
            var target = _folder.File($"{type}.gguf");
            LlamaModel.Quantize(source.Path, target, type, threads: 1);
            var identity = ModelFingerprint.Compute(target);
            identity.Fingerprint.Should().Be(expected.Fingerprint);
            identity.Quantization.Should().Be(name);
            identity.ChatTemplateSha256.Should().Be(expected.ChatTemplateSha256);
        }
    }

    [Fact]
    public void Compute_AnotherSeed_GivesAnotherFingerprint()
    {
        using var one = new RandomModel();
        using var other = new RandomModel(new RandomModel.Settings { Seed = 8 });

        ModelFingerprint.Compute(one.Path).Fingerprint.Should().NotBe(ModelFingerprint.Compute(other.Path).Fingerprint);
    }
}

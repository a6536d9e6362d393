using YaPO.Llama.Gguf;
using YaPO.Llama.Models;

namespace YaPO.Llama.Tests.Gguf;

public sealed class ModelFingerprintTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    internal static GgufWriter Model(GgmlType type = GgmlType.F32, uint? fileType = 0, float norm = 1, string token = "b", uint heads = 4, string extraKey = "gemma2.some_new_key", bool reorder = false)
    {
        var writer = new GgufWriter().Set("general.architecture", "gemma2").Set("general.name", "tiny");
        if (fileType is { } n)
        {
            writer.Set("general.file_type", n);
        }

        writer.Set("gemma2.block_count", 1u).Set("gemma2.embedding_length", 32u).Set("gemma2.feed_forward_length", 64u)
            .Set("gemma2.attention.head_count", heads).Set("gemma2.attention.head_count_kv", (int[])[2, 2]).Set(extraKey, 5u)
            .Set("tokenizer.ggml.model", "llama").Set("tokenizer.ggml.tokens", ["<pad>", "a", token]).Set("tokenizer.chat_template", "{{ messages }}");
        var matrix = Enumerable.Range(0, 64).Select(i => i / 7f).ToArray();
        var norms = Enumerable.Range(0, 32).Select(i => norm + i).ToArray();
        return reorder
            ? writer.AddTensor("output_norm.weight", GgmlType.F32, [32], norms).AddTensor("token_embd.weight", type, [32, 2], matrix).AddTensor("blk.0.attn_norm.weight", GgmlType.F32, [32], norms)
            : writer.AddTensor("token_embd.weight", type, [32, 2], matrix).AddTensor("blk.0.attn_norm.weight", GgmlType.F32, [32], norms).AddTensor("output_norm.weight", GgmlType.F32, [32], norms);
    }

    private ModelIdentity Compute(GgufWriter writer)
    {
        writer.Save(_folder.File("m.gguf"));
        return ModelFingerprint.Compute(_folder.File("m.gguf"));
    }

    [Fact]
    public void Compute_EveryQuantization_GivesOneFingerprint()
    {
        var expected = Compute(Model()).Fingerprint;

        expected.Should().HaveLength(64);
        Compute(Model(GgmlType.F16, 1)).Fingerprint.Should().Be(expected);
        Compute(Model(GgmlType.Q8_0, 7)).Fingerprint.Should().Be(expected);
        Compute(Model(extraKey: "gemma2.another")).Fingerprint.Should().Be(expected, "newer converters add keys");
        Compute(Model(reorder: true)).Fingerprint.Should().Be(expected, "the order of tensors means nothing");
    }

    [Fact]
    public void Compute_AnotherModel_GivesAnotherFingerprint()
    {
        var fingerprints = new[] { Model(), Model(norm: 1.0001f), Model(token: "c"), Model(heads: 2) }.Select(m => Compute(m).Fingerprint);

        fingerprints.Should().OnlyHaveUniqueItems();
    }

    [Fact]
    public void Compute_Recipe_IsPinned() =>
        // Vectors name their model by this value: when this fails, every published file stops finding its model.
        Compute(Model()).Fingerprint.Should().Be("e4efc4c518f23d508da2aafa8e09ecaef39e22b45cd646e635e53856e0951f8a", "the recipe in the documentation, computed by another program, gives this");

    [Fact]
    public void Compute_Summary_SaysWhatTheFileIs()
    {
        var identity = Compute(Model(GgmlType.Q8_0, 7));

        identity.Should().BeEquivalentTo(new { Architecture = "gemma2", Name = "tiny", Quantization = "Q8_0", DModel = 32, LayerCount = 1 });
        identity.ChatTemplateSha256.Should().Be("f24189f08c85a1eb19a737306c3a13e85462ee33d964f28108d64a2485fa2171");
        Compute(Model(GgmlType.F16, fileType: null)).Quantization.Should().Be("F16", "without a file type the matrices decide");
        Compute(Model(GgmlType.F16, fileType: 15)).Quantization.Should().Be("Q4_K_M");
    }

    [Fact]
    public void Compute_NoModel_IsRefused()
    {
        new GgufWriter().Set("general.architecture", "controlvector").Save(_folder.File("x.gguf"));

        FluentActions.Invoking(() => ModelFingerprint.Compute(_folder.File("x.gguf"))).Should().Throw<YapoException>().WithMessage("*x.gguf is no model: it is a control vector");
    }
}

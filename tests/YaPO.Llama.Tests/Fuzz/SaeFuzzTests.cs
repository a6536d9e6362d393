using System.Text;
using YaPO.Llama.Sae;
using YaPO.Llama.Tensors;
using YaPO.Llama.Tests.Numpy;
using YaPO.Llama.Tests.Sae;
using YaPO.Llama.Tests.Tensors;
using static YaPO.Llama.Tests.Sae.PublishedSae;

namespace YaPO.Llama.Tests.Fuzz;

/// <summary>Damaged downloads of every SAE format: a conversion succeeds with a file that is whole, or fails with a clear error and leaves nothing.</summary>
public sealed class SaeFuzzTests : IDisposable
{
    private const double Share = 0.1; // a conversion takes a millisecond

    private readonly TemporaryFolder _folder = new(inMemory: true);
    private readonly PublishedSae _sae = new(7);

    public SaeFuzzTests() => Array.ForEach([.. Downloads(_sae).Values], d => Directory.CreateDirectory(Path.GetDirectoryName(_folder.File(d.File))!));

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Formats => new(Downloads(new PublishedSae(7)).Keys);

    [Fact]
    public void GemmaScope_DamagedGolden_GivesOnlyClearErrorsAndNoOutput() =>
        new FuzzRun(_folder).Run(19, File.ReadAllBytes(NumpyTests.Golden("sae.npz")), "x.npz", path => Convert(path, layer: 1), Share);

    [Theory]
    [MemberData(nameof(Formats))]
    public void Weights_Damaged_GiveOnlyClearErrorsAndNoOutput(string format)
    {
        var (file, weights, configName, config) = Downloads(_sae)[format];
        if (config is not null)
        {
            _folder.Write(configName, config);
        }

        new FuzzRun(_folder).Run(40, weights, file, path => Convert(path), Share);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Config_Damaged_GivesOnlyClearErrorsAndNoOutput(string format)
    {
        var (file, weights, configName, config) = Downloads(_sae)[format];
        if (config is not null)
        {
            var path = _folder.Write(file, weights);
            new FuzzRun(_folder).Run(41, Encoding.UTF8.GetBytes(config), configName, _ => Convert(path), Share);
        }
    }

    private void Convert(string path, int? layer = null)
    {
        var output = _folder.File("out.gguf");
        File.Delete(output);
        try
        {
            SaeConverter.Convert(new SaeConvertOptions(path, output) { Layer = layer });
        }
        catch (YapoException)
        {
            Assert.False(File.Exists(output), "a failed conversion left a file");
            throw;
        }

        using var sae = SaeFile.Open(output);
        Assert.True(Array.TrueForAll(sae.ReadEncoder(), float.IsFinite) && Array.TrueForAll(sae.ReadDecoder(), float.IsFinite));
        Assert.Empty(Directory.GetFiles(_folder.Path, "*.tmp"));
    }

    /// <summary>One valid download per format: file, weights, name and text of the config.</summary>
    private static Dictionary<string, (string File, byte[] Weights, string ConfigName, string? Config)> Downloads(PublishedSae s)
    {
        TestTensor[] lens = [Matrix("W_enc", "DF", s.W), Matrix("W_dec", "FD", s.Decoder), Vector("b_enc", s.EncBias), Vector("b_dec", s.DecBias)];
        return new()
        {
            ["gemma-scope-2"] = (
                "params.safetensors",
                TensorWriter.Safetensors([Matrix("w_enc", "DF", s.W), Matrix("w_dec", "FD", s.Decoder), Vector("b_enc", s.EncBias), Vector("b_dec", s.DecBias), Vector("threshold", s.Threshold)]),
                "config.json", """{"hf_hook_point_in": "model.layers.5.output", "hf_hook_point_out": "model.layers.5.output", "model_name": "google/gemma-3-1b-pt", "architecture": "jump_relu", "l0": 12}"""),
            ["llama-scope"] = (
                "final.safetensors",
                TensorWriter.Safetensors([Matrix("encoder.weight", "FD", s.W, TensorType.BF16), Vector("encoder.bias", s.EncBias), Matrix("decoder.weight", "DF", s.Decoder), Vector("decoder.bias", s.DecBias)]),
                "hyperparams.json", """{"hook_point_in": "blocks.15.hook_resid_post", "act_fn": "jumprelu", "jump_relu_threshold": 4.5, "norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": 6.5, "out": 11.25}}"""),
            ["openmoss"] = (
                "sae_weights.safetensors",
                TensorWriter.Safetensors([Matrix("W_E", "DF", s.W), Vector("b_E", s.EncBias), Matrix("W_D", "FD", s.Decoder), Vector("b_D", s.DecBias), Scalar("dataset_average_activation_norm.blocks.2.hook_resid_post", 7.5)]),
                "config.json", """{"hook_point_in": "blocks.2.hook_resid_post", "hook_point_out": "blocks.2.hook_resid_post", "act_fn": "topk", "top_k": 5, "norm_activation": "dataset-wise"}"""),
            ["saelens"] = ("sae_weights.safetensors", TensorWriter.Safetensors(lens), "cfg.json", """{"architecture": "topk", "k": 6, "rescale_acts_by_decoder_norm": true, "metadata": {"hook_name": "blocks.7.hook_resid_post"}}"""),
            ["saelens-gated"] = (
                "sae_weights.safetensors",
                TensorWriter.Safetensors([lens[0], lens[1], lens[3], Vector("b_mag", s.EncBias), Vector("b_gate", s.GateBias), Vector("r_mag", s.LogMagnitude)]),
                "cfg.json", """{"architecture": "gated", "hook_name": "blocks.7.hook_resid_post", "normalize_activations": "none"}"""),
            ["sparsify"] = (
                "layers.3/sae.safetensors",
                TensorWriter.Safetensors([Vector("b_dec", s.DecBias), Vector("encoder.bias", s.EncBias), Matrix("encoder.weight", "FD", s.W), Matrix("W_dec", "FD", s.Decoder)]),
                "layers.3/cfg.json", """{"activation": "topk", "k": 7, "signed": false, "transcode": false}"""),
            ["qwen-scope"] = (
                "SAE-Res-Qwen3-2B-W1K-L0_4/layer12.sae.pt",
                TensorWriter.Pt(Matrix("W_enc", "FD", s.W, TensorType.BF16), Matrix("W_dec", "DF", s.Decoder, TensorType.BF16), Vector("b_enc", s.EncBias), Vector("b_dec", s.DecBias)), "", null),
        };
    }
}

using YaPO.Llama.Gguf;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tensors;
using YaPO.Llama.Tests.Tensors;
using static YaPO.Llama.Tests.Sae.PublishedSae;

namespace YaPO.Llama.Tests.Sae;

/// <summary>Every format: random weights, the original's encoder and decoder written out in double, against the converted file in the run-time form.</summary>
public sealed class SaeFormatTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly PublishedSae _sae = new(7);

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(false, false, "W_enc", "W_dec")]
    [InlineData(true, false, "W_enc", "W_dec")]
    [InlineData(false, true, "w_enc", "w_dec")]
    [InlineData(true, true, "w_enc", "w_dec")]
    public void GemmaScope_EveryLayout_IsTheSameFunction(bool fortran, bool deflate, string enc, string dec)
    {
        var npz = TensorWriter.Npz(
            [Matrix(enc, "DF", _sae.W), Matrix(dec, "FD", _sae.Decoder, TensorType.F16), Vector("b_enc", _sae.EncBias), Vector("b_dec", _sae.DecBias, TensorType.F64), Vector("threshold", _sae.Threshold)],
            fortran, deflate);

        using var sae = Convert("gemma-scope-2b-pt-res/layer_3", "params.npz", npz);

        AssertSame(sae, JumpRelu);
        sae.Info.Conversion.Should().ContainMatch("gemma-scope:*").And.Contain("nothing to fold");
    }

    [Theory]
    [InlineData("""{"hf_hook_point_in": "model.layers.5.output", "hf_hook_point_out": "model.layers.5.output", "width": 40, "model_name": "google/gemma-3-1b-pt", "architecture": "jump_relu", "l0": 12, "affine_connection": false, "type": "sae"}""", "download", 5, "google/gemma-3-1b-pt")]
    [InlineData(null, "models--google--gemma-scope-2-1b-it/snapshots/0a/resid_post_all/layer_17_width_16k_l0_medium_seed_1", 17, "gemma-3-1b-it")]
    public void GemmaScope2_ConfigOrPath_IsTheSameFunction(string? config, string folder, int layer, string model)
    {
        using var sae = Convert(folder, "params.safetensors", GemmaScope2(), config, "config.json");

        AssertSame(sae, JumpRelu);
        (sae.Info.Layer, sae.Info.Base.Name, sae.Info.Activation).Should().Be((layer, model, SaeActivation.JumpRelu));
        if (config is null)
        {
            sae.Info.Source.Should().Be("huggingface:google/gemma-scope-2-1b-it/resid_post_all/layer_17_width_16k_l0_medium_seed_1/params.safetensors");
            sae.Info.License.Should().Be("cc-by-4.0");
        }
        else
        {
            sae.Info.AverageL0.Should().Be(12);
        }
    }

    [Theory]
    [InlineData("jumprelu")]
    [InlineData("topk")]
    public void LlamaScope_OriginalLoadOrder_IsTheSameFunction(string activation)
    {
        var config = $$"""
            {"hook_point_in": "blocks.15.hook_resid_post", "hook_point_out": "blocks.15.hook_resid_post", "use_decoder_bias": true, "apply_decoder_bias_to_pre_encoder": false,
             "d_model": 24, "d_sae": 40, "act_fn": "{{activation}}", "jump_relu_threshold": 4.5, "top_k": 6, "norm_activation": "dataset-wise",
             "dataset_average_activation_norm": {"in": 6.5, "out": 11.25}, "sparsity_include_decoder_norm": true}
            """;
        var weights = TensorWriter.Safetensors(
            [Matrix("encoder.weight", "FD", _sae.W, TensorType.BF16), Vector("encoder.bias", _sae.EncBias), Matrix("decoder.weight", "DF", _sae.Decoder, TensorType.F16), Vector("decoder.bias", _sae.DecBias)]);

        using var sae = Convert("Llama3_1-8B-Base-L15R-8x", "checkpoints/final.safetensors", weights, config, "hyperparams.json");

        var (input, output) = (Math.Sqrt(D) / 6.5, Math.Sqrt(D) / 11.25);
        AssertSame(sae, x =>
        {
            // b_E /= s_in; W_D *= s_in / s_out; b_D /= s_out; then unit decoder norms; then the threshold as it is.
            double[] norms = [.. _sae.Decoder.Select(row => Norm(row) * input / output)];
            double[] h = [.. _sae.W.Select((w, j) => norms[j] * (Dot(w, x) + (_sae.EncBias[j] / input)))];
            return _sae.Decode(
                activation == "topk" ? TopK(h, 6) : [.. h.Select(v => v > 4.5 ? v : 0)],
                [.. _sae.DecBias.Select(b => b / output)], j => input / output / norms[j]);
        });
        (sae.Info.Layer, sae.Info.Name, sae.Info.TopK).Should().Be((15, "Llama3_1-8B-Base-L15R-8x", activation == "topk" ? 6 : 0));
        sae.ReadDecoder().Chunk(D).Should().OnlyContain(row => Math.Abs(row.Sum(x => x * x) - 1) < 1e-5);
    }

    [Theory]
    [InlineData("jumprelu", "dataset-wise", true, false)]
    [InlineData("jumprelu", "inference", false, false)]
    [InlineData("topk", "dataset-wise", true, true)]
    [InlineData("relu", "inference", true, true)]
    public void OpenMoss_EveryActivation_IsTheSameFunction(string activation, string norm, bool decoderNorm, bool centred)
    {
        var config = $$"""
            {"sae_type": "sae", "hook_point_in": "blocks.2.hook_resid_post", "hook_point_out": "blocks.2.hook_resid_post", "act_fn": "{{activation}}", "top_k": 5, "norm_activation": "{{norm}}",
             "sparsity_include_decoder_norm": {{(decoderNorm ? "true" : "false")}}, "apply_decoder_bias_to_pre_encoder": {{(centred ? "true" : "false")}}, "model_name": "m"}
            """;
        var weights = TensorWriter.Safetensors(
            [
                Matrix("W_E", "DF", _sae.W), Vector("b_E", _sae.EncBias), Matrix("W_D", "FD", _sae.Decoder), Vector("b_D", _sae.DecBias),
                Vector("activation_function.log_jumprelu_threshold", _sae.LogMagnitude),
                Scalar("dataset_average_activation_norm.blocks.2.hook_resid_post", 7.5),
            ]);

        using var sae = Convert("moss", "sae_weights.safetensors", weights, config, "config.json");

        var scale = norm == "dataset-wise" ? Math.Sqrt(D) / 7.5 : 1;
        double[] bias = [.. _sae.DecBias.Select(b => b / scale)];
        AssertSame(sae, x =>
        {
            // n from the decoder, whose s_in / s_out is 1 here; activations are counted as act(h·n) and divided by n before decoding.
            double[] norms = [.. _sae.Decoder.Select(row => decoderNorm ? Norm(row) : 1)];
            var input = centred ? Minus(x, bias) : x;
            double[] s = [.. _sae.W.Select((w, j) => norms[j] * (Dot(w, input) + (_sae.EncBias[j] / scale)))];
            double[] z = activation switch
            {
                "topk" => TopK(s, 5),
                "relu" => [.. s.Select(v => Math.Max(0, v))],
                _ => [.. s.Select((v, j) => v > Math.Exp(_sae.LogMagnitude[j]) ? v : 0)],
            };
            return _sae.Decode(z, bias, j => 1 / norms[j]);
        });
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Sparsify_TopK_IsTheSameFunction(bool bf16)
    {
        var type = bf16 ? TensorType.BF16 : TensorType.F32;
        var weights = TensorWriter.Safetensors([Vector("b_dec", _sae.DecBias, type), Vector("encoder.bias", _sae.EncBias, type), Matrix("encoder.weight", "FD", _sae.W, type), Matrix("W_dec", "FD", _sae.Decoder, type)]);

        using var sae = Convert("sae-llama/layers.10", "sae.safetensors", weights, """{"activation": "topk", "expansion_factor": 32, "normalize_decoder": true, "num_latents": 0, "k": 7, "signed": false, "d_in": 24}""");

        AssertSame(sae, x =>
        {
            double[] a = [.. _sae.W.Select((w, j) => Math.Max(0, Dot(w, Minus(x, _sae.DecBias)) + _sae.EncBias[j]))];
            return _sae.Decode(TopK(a, 7), _sae.DecBias);
        });
        (sae.Info.Layer, sae.Info.TopK, sae.Info.Activation).Should().Be((10, 7, SaeActivation.TopK));
    }

    [Theory]
    [InlineData(4)]
    [InlineData(30)] // more than are ever positive: the negative ones among them become 0
    public void QwenScope_Pickle_IsTheSameFunction(int k)
    {
        var weights = TensorWriter.Pt(
            Matrix("W_enc", "FD", _sae.W, TensorType.BF16), Matrix("W_dec", "DF", _sae.Decoder, TensorType.BF16), Vector("b_enc", _sae.EncBias, TensorType.BF16), Vector("b_dec", _sae.DecBias, TensorType.BF16));

        using var sae = Convert($"models--Qwen--SAE-Res-Qwen3.5-2B-Base-W32K-L0_{k}/snapshots/f0", "layer12.sae.pt", weights);

        AssertSame(sae, x => _sae.Decode(TopK(_sae.W.Select((w, j) => Dot(w, x) + _sae.EncBias[j]), k), _sae.DecBias));
        (sae.Info.Layer, sae.Info.TopK, sae.Info.Base.Name, sae.Info.Source).Should().Be((12, k, "Qwen3.5-2B-Base", $"huggingface:Qwen/SAE-Res-Qwen3.5-2B-Base-W32K-L0_{k}/layer12.sae.pt"));
        sae.Info.Conversion.Should().ContainMatch("*negative activations*become 0*");
    }

    [Fact]
    public void QwenScope_FolderOfSeveralLayers_NeedsALayer()
    {
        var weights = TensorWriter.Pt(Matrix("W_enc", "FD", _sae.W), Matrix("W_dec", "DF", _sae.Decoder), Vector("b_enc", _sae.EncBias), Vector("b_dec", _sae.DecBias));
        Directory.CreateDirectory(_folder.File("q"));
        _folder.Write("q/layer1.sae.pt", weights);
        _folder.Write("q/layer2.sae.pt", weights);
        var options = new SaeConvertOptions(_folder.File("q"), _folder.File("sae.gguf")) { TopK = 3 };

        FluentActions.Invoking(() => SaeConverter.Convert(options)).Should().Throw<YapoException>().WithMessage("*2 files layer*--layer*");
        FluentActions.Invoking(() => SaeConverter.Convert(options with { Layer = 2, TopK = null })).Should().Throw<YapoException>().WithMessage("*give --top-k*");
        SaeConverter.Convert(options with { Layer = 2 }).Should().BeEquivalentTo(new { Layer = 2, TopK = 3 });
    }

    [Theory]
    [InlineData("transcoder_all/layer_5_width_16k_l0_big_affine", null, "*(transcoder)*rebuilds no residual stream*")]
    [InlineData("attn_out/layer_5_width_16k_l0_big", null, "*(attn_out)*what attention adds*")]
    [InlineData("clt/width_16k_l0_big", null, "*cross-layer transcoder*")]
    [InlineData("x", """{"hf_hook_point_in": "model.layers.5.pre_feedforward_layernorm.output", "hf_hook_point_out": "model.layers.5.post_feedforward_layernorm.output"}""", "*pre_feedforward_layernorm.output*not known to be the residual stream*")]
    [InlineData("x", """{"hf_hook_point_in": "model.layers.5.output", "hf_hook_point_out": "model.layers.6.output"}""", "*(transcoder)*")]
    [InlineData("x", """{"hf_hook_point_in": "model.layers.5.output", "affine_connection": true}""", "*affine map of the input*")]
    [InlineData("x", """{"hf_hook_point_in": "model.layers.5.output", "architecture": "topk"}""", "*another architecture*")]
    [InlineData("x", """{"hf_hook_point_in": 5}""", "*'hf_hook_point_in' is of type Number, expected a text*")]
    [InlineData("x", """{"hf_hook_point_in": "a", "hf_hook_point_in": "b"}""", "*not valid JSON*")]
    [InlineData("x", null, "*which layer*give --layer*")]
    public void GemmaScope2_WhatCannotSteer_IsRefusedWithTheReason(string folder, string? config, string message) =>
        Refused(() => Convert(folder, "params.safetensors", GemmaScope2(), config, "config.json"), message);

    [Theory]
    [InlineData("clt/width_262k_l0_big_affine", "params.safetensors", "w_enc", "w_dec", "b_enc", "b_dec", "threshold", "*(clt)*cross-layer transcoder*")]
    [InlineData("moss", "sae_weights.safetensors", "W_E", "W_D", "b_E", "b_D", "x", "*(clt)*cross-layer transcoder*")]
    public void CrossLayerTranscoder_InItsOwnShapes_IsRefusedWithTheReason(string folder, string file, string enc, string dec, string encBias, string decBias, string more, string message) => Refused(
        () => Convert(
            folder, file,
            TensorWriter.Safetensors([
                new(enc, [2, D, F], new float[2 * D * F]), new(dec, [2, F, 2, D], new float[4 * D * F]), new(encBias, [2, F], new float[2 * F]), new(decBias, [2, D], new float[2 * D]),
                new(more, [2, F], new float[2 * F])]),
            folder == "moss" ? """{"sae_type": "clt", "act_fn": "jumprelu"}""" : null, "config.json"),
        message);

    [Fact]
    public void GemmaScope2_AffineTensor_IsRefused() => Refused(
        () => Convert("layer_5_width_16k", "params.safetensors", GemmaScope2(new TestTensor("affine_skip_connection", [D, D], new float[D * D]))), "*'affine_skip_connection'*affine map*");

    [Theory]
    [InlineData("layers.3.mlp", "{\"k\": 3}", "*(mlp)*what an MLP adds*")]
    [InlineData("layers.3", "{\"k\": 3, \"transcode\": true}", "*transcoder*")]
    [InlineData("layers.3", "{\"k\": 3, \"activation\": \"groupmax\"}", "*groupmax*")]
    [InlineData("layers.3", "{\"k\": 3, \"signed\": true}", "*negative activations*")]
    [InlineData("layers.3", "{}", "*give --top-k*")]
    [InlineData("layers.3", "{\"k\": 41}", "*topk 41*out of range*")]
    [InlineData("layers.3", "{\"k\": 2.5}", "*'k' is 2.5, expected an integer*")]
    [InlineData("embed_tokens", "{\"k\": 3}", "*embed_tokens*")]
    public void Sparsify_WhatCannotSteer_IsRefusedWithTheReason(string folder, string config, string message)
    {
        var weights = TensorWriter.Safetensors([Vector("b_dec", _sae.DecBias), Vector("encoder.bias", _sae.EncBias), Matrix("encoder.weight", "FD", _sae.W), Matrix("W_dec", "FD", _sae.Decoder)]);

        Refused(() => Convert(folder, "sae.safetensors", weights, config), message);
    }

    [Theory]
    [InlineData(GgmlType.F16, 5e-4)]
    [InlineData(GgmlType.Q8_0, 1e-2)]
    public void Convert_DecoderTypes_ChangeHowMuchAFeatureWritesAndNeverWhenItFires(GgmlType type, double bound)
    {
        const int d = 64, f = 96;
        var random = new Random(5);
        TestTensor Values(string name, params long[] shape) => new(name, shape, [.. Enumerable.Range(0, (int)shape.Aggregate((a, n) => a * n)).Select(_ => (float)((random.NextDouble() * 2) - 1))]);
        var weights = TensorWriter.Safetensors([Values("w_enc", d, f), Values("w_dec", f, d), Values("b_enc", f), Values("b_dec", d), Values("threshold", f)]);
        using var exact = SaeFile.Open(Typed(GgmlType.F32));
        using var rounded = SaeFile.Open(Typed(type));

        (rounded.EncType, rounded.DecType).Should().Be((GgmlType.F32, type));
        var (error, norm) = (0.0, 0.0);
        for (var t = 0; t < 40; t++)
        {
            double[] x = [.. Enumerable.Range(0, d).Select(_ => (random.NextDouble() * 2) - 1)];
            var (a, b) = (RunTime(exact, x), RunTime(rounded, x));
            b.Z.Should().Equal(a.Z, "encoder, bias and threshold are the same bits");
            error += Dot(Minus(a.Reconstruction, b.Reconstruction), Minus(a.Reconstruction, b.Reconstruction));
            norm += Dot(a.Reconstruction, a.Reconstruction);
        }

        Math.Sqrt(error / norm).Should().BeInRange(bound / 20, bound);

        string Typed(GgmlType decoder)
        {
            var options = new SaeConvertOptions(_folder.Write("params.safetensors", weights), _folder.File($"{decoder}.gguf")) { Layer = 1, DecType = decoder };
            SaeConverter.Convert(options);
            return options.Output;
        }
    }

    [Fact]
    public void Convert_ShapesThatDisagree_AreRefused()
    {
        Refused(
            () => Convert("layer_1", "params.safetensors", TensorWriter.Safetensors(
                [Matrix("w_enc", "DF", _sae.W), Matrix("w_dec", "DF", _sae.Decoder), Vector("b_enc", _sae.EncBias), Vector("b_dec", _sae.DecBias), Vector("threshold", _sae.Threshold)])),
            "*'w_dec' has shape (24, 40), expected (40, 24) to match 'w_enc' (24, 40)*");
        var bad = new PublishedSae(1);
        bad.Decoder[11][3] = double.NaN;
        Refused(
            () => Convert("layer_1", "params.safetensors", TensorWriter.Safetensors(
                [Matrix("w_enc", "DF", _sae.W), Matrix("w_dec", "FD", bad.Decoder), Vector("b_enc", _sae.EncBias), Vector("b_dec", _sae.DecBias), Vector("threshold", _sae.Threshold)])),
            "*'w_dec': feature 11 holds NaN*");
    }

    private Codes JumpRelu(double[] x) => _sae.Decode(
        [.. _sae.W.Select((w, j) => Dot(w, x) + _sae.EncBias[j]).Select((h, j) => h > _sae.Threshold[j] ? Math.Max(0, h) : 0)], _sae.DecBias);

    private byte[] GemmaScope2(params TestTensor[] more) => TensorWriter.Safetensors(
        [Matrix("w_enc", "DF", _sae.W), Matrix("w_dec", "FD", _sae.Decoder), Vector("b_enc", _sae.EncBias), Vector("b_dec", _sae.DecBias), Vector("threshold", _sae.Threshold), .. more]);

    /// <summary>Lays a download out on disk and converts its folder.</summary>
    private SaeFile Convert(string folder, string file, byte[] weights, string? config = null, string configName = "cfg.json")
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_folder.File($"{folder}/{file}"))!);
        _folder.Write($"{folder}/{file}", weights);
        if (config is not null)
        {
            _folder.Write($"{folder}/{configName}", config);
        }

        SaeConverter.Convert(new SaeConvertOptions(_folder.File(folder), _folder.File("sae.gguf")));
        return SaeFile.Open(_folder.File("sae.gguf"));
    }

    private void Refused(Action convert, string message)
    {
        convert.Should().Throw<YapoException>().WithMessage(message);
        Directory.GetFiles(_folder.Path).Should().BeEmpty("a refused conversion leaves nothing");
    }
}

using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Tensors;
using static YaPO.Llama.Tests.Sae.PublishedSae;

namespace YaPO.Llama.Tests.Sae;

/// <summary>SAELens in its architectures and both generations of its config, against its own arithmetic written out in double.</summary>
public sealed class SaeLensTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly PublishedSae _sae = new(8);

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("""{"architecture": "standard", "apply_b_dec_to_input": true, "metadata": {"hook_name": "blocks.7.hook_resid_post", "model_name": "gpt2-small", "sae_lens_version": "6.0.0"}}""", true)]
    [InlineData("""{"architecture": "standard", "apply_b_dec_to_input": false, "normalize_activations": "none", "metadata": {"hook_name": "blocks.8.hook_resid_pre"}}""", false)]
    [InlineData("""{"hook_point": "blocks.7.hook_resid_post", "hook_point_layer": 7, "activation_fn_str": "relu", "normalize_activations": false}""", true)]
    public void Standard_BothConfigs_IsTheSameFunction(string config, bool centred)
    {
        using var sae = Convert(config, WithBias());

        AssertSame(sae, x => _sae.Decode([.. Products(x, centred).Select((u, j) => Math.Max(0, u + _sae.EncBias[j]))], _sae.DecBias));
        (sae.Info.Layer, sae.Info.Activation).Should().Be((7, SaeActivation.Relu));
    }

    [Theory]
    [InlineData("jumprelu", false)]
    [InlineData("batchtopk", true)]
    public void JumpRelu_AndBatchTopK_AreTheSameFunction(string architecture, bool rescaled)
    {
        // A batchtopk training checkpoint holds one threshold for activations in units of the decoder rows' norms.
        var threshold = rescaled ? Scalar("topk_threshold", 3.25) with { Type = YaPO.Llama.Tensors.TensorType.F64 } : Vector("threshold", _sae.Threshold);
        using var sae = Convert($$"""{"architecture": "{{architecture}}", "rescale_acts_by_decoder_norm": {{(rescaled ? "true" : "false")}}, "metadata": {"hook_name": "blocks.7.hook_resid_post"} }""", [.. WithBias(), threshold]);

        double[] norms = [.. _sae.Decoder.Select(row => rescaled ? Norm(row) : 1)];
        AssertSame(sae, x => _sae.Decode(
            [.. Products(x, true).Select((u, j) => (u + _sae.EncBias[j]) * norms[j]).Select((h, j) => h > (rescaled ? 3.25 : _sae.Threshold[j]) ? Math.Max(0, h) : 0)],
            _sae.DecBias, j => 1 / norms[j]));
    }

    [Theory]
    [InlineData("""{"architecture": "topk", "k": 6, "rescale_acts_by_decoder_norm": true, "metadata": {"hook_name": "blocks.7.hook_resid_post"}}""", true)]
    [InlineData("""{"architecture": "topk", "k": 6, "metadata": {"hook_name": "blocks.7.hook_resid_post"}}""", false)]
    [InlineData("""{"architecture": "standard", "activation_fn": "topk", "activation_fn_kwargs": {"k": 6}, "hook_name": "blocks.7.hook_resid_post", "hook_layer": 7}""", false)]
    public void TopK_BothConfigs_IsTheSameFunction(string config, bool rescaled)
    {
        using var sae = Convert(config, WithBias());

        double[] norms = [.. _sae.Decoder.Select(row => rescaled ? Norm(row) : 1)];
        AssertSame(sae, x => _sae.Decode(TopK(Products(x, true).Select((u, j) => (u + _sae.EncBias[j]) * norms[j]), 6), _sae.DecBias, j => 1 / norms[j]));
        sae.Info.TopK.Should().Be(6);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Gated_IsTheSameFunctionAsItsJumpRelu(bool centred)
    {
        using var sae = Convert($$"""{"architecture": "gated", "apply_b_dec_to_input": {{(centred ? "true" : "false")}}, "metadata": {"hook_name": "blocks.7.hook_resid_post"} }""", Gated(_sae));

        AssertSame(sae, x => _sae.Decode(
            [.. Products(x, centred).Select((u, j) => u + _sae.GateBias[j] > 0 ? Math.Max(0, (u * Math.Exp(_sae.LogMagnitude[j])) + _sae.EncBias[j]) : 0)], _sae.DecBias));
        sae.Info.Activation.Should().Be(SaeActivation.JumpRelu);
        sae.Threshold.Should().Contain(t => t > 0).And.Contain(0, "where the magnitude is positive only beyond the gate, relu alone decides");
    }

    [Theory]
    [InlineData(-1, 0)] // just below: closed in both
    [InlineData(0, 0)] // exactly at the gate: strictly above is needed, closed in both
    [InlineData(1, 2.015625)] // just above: open, with the magnitude's value
    public void Gated_AtTheGate_IsStrictLikeTheOriginal(int steps, double expected)
    {
        // u = x·w = x[0]; the gate is open where u > 1.5, the magnitude is u + 0.5. All of it is exact in binary.
        var w = new double[F][];
        for (var j = 0; j < F; j++)
        {
            w[j] = new double[D];
            w[j][0] = 1;
        }

        var exact = new PublishedSae(1);
        Array.Fill(exact.GateBias, -1.5);
        Array.Fill(exact.EncBias, 0.5);
        Array.Fill(exact.LogMagnitude, 0);
        exact.W.AsSpan().Clear();
        w.CopyTo(exact.W, 0);
        using var sae = Convert("""{"architecture": "gated", "apply_b_dec_to_input": false, "metadata": {"hook_name": "blocks.7.hook_resid_post"}}""", Gated(exact));
        var x = new double[D];
        x[0] = 1.5 + (steps / 64.0);

        RunTime(sae, x).Z.Should().OnlyContain(z => z == expected);
        (x[0] - 1.5 > 0 ? Math.Max(0, x[0] + 0.5) : 0).Should().Be(expected, "that is what the original computes");
    }

    [Fact]
    public void ExpectedAverageNorm_NeedsTheScaleAndFoldsIt()
    {
        const string config = """{"architecture": "standard", "normalize_activations": "expected_average_only_in", "metadata": {"hook_name": "blocks.7.hook_resid_post"}}""";
        const double c = 0.375;
        Refused(config, WithBias(), "*--input-scale C*√24*");

        using var sae = Convert(config, WithBias(), c);

        // x' = c·x − b_dec; the original divides the output by c.
        AssertSame(sae, x =>
        {
            double[] scaled = [.. x.Select(v => c * v)];
            var codes = _sae.Decode([.. Products(scaled, true).Select((u, j) => Math.Max(0, u + _sae.EncBias[j]))], _sae.DecBias);
            return codes with { Reconstruction = [.. codes.Reconstruction.Select(v => v / c)] };
        });
        sae.Info.Conversion.Should().Contain("input scale 0.375");
    }

    [Fact]
    public void ScalingFactor_OfOnes_IsDropped_OthersAreRefused()
    {
        const string config = """{"architecture": "standard", "hook_name": "blocks.7.hook_resid_post"}""";
        var ones = Enumerable.Repeat(1.0, F).ToArray();
        using (var sae = Convert(config, [.. WithBias(), Vector("scaling_factor", ones)]))
        {
            sae.Info.Conversion.Should().Contain("scaling_factor of ones dropped");
        }

        File.Delete(_folder.File("sae.gguf"));
        ones[3] = 1.5;
        Refused(config, [.. WithBias(), Vector("scaling_factor", ones)], "*scaling_factor*3* is 1.5*");
    }

    [Fact]
    public void Sparsity_BesideTheWeights_BecomesFiringRates()
    {
        double[] log = [.. Enumerable.Range(0, F).Select(j => j == 5 ? -10.0 : -j / 10.0)];
        Directory.CreateDirectory(_folder.File("lens"));
        _folder.Write("lens/sparsity.safetensors", TensorWriter.Safetensors([Vector("sparsity", log)]));

        using var sae = Convert("""{"architecture": "standard", "hook_name": "blocks.7.hook_resid_post"}""", WithBias());

        sae.Rate.Should().NotBeNull();
        sae.Rate!.Zip(log).Should().OnlyContain(p => Math.Abs(p.First - Math.Pow(10, p.Second)) < 1e-6);
    }

    [Theory]
    [InlineData("""{"architecture": "standard", "normalize_activations": "layer_norm", "hook_name": "blocks.7.hook_resid_post"}""", "*layer_norm*no weights can express*")]
    [InlineData("""{"architecture": "standard", "normalize_activations": "constant_norm_rescale", "hook_name": "blocks.7.hook_resid_post"}""", "*constant_norm_rescale*no weights can express*")]
    [InlineData("""{"architecture": "standard", "normalize_activations": "strange", "hook_name": "blocks.7.hook_resid_post"}""", "*normalize_activations that is unknown*")]
    [InlineData("""{"architecture": "standard", "activation_fn_str": "tanh-relu", "hook_name": "blocks.7.hook_resid_post"}""", "*another activation function*")]
    [InlineData("""{"architecture": "skip_transcoder", "metadata": {"hook_name": "blocks.7.ln2.hook_normalized", "hook_name_out": "blocks.7.hook_mlp_out"}}""", "*SAELens transcoder*rebuilds no residual stream*")]
    [InlineData("""{"architecture": "standard", "hook_name": "blocks.7.hook_mlp_out"}""", "*(mlp)*what an MLP adds*")]
    [InlineData("""{"architecture": "standard", "hook_name": "blocks.7.attn.hook_z"}""", "*(att)*")]
    [InlineData("""{"architecture": "standard", "hook_name": "blocks.7.hook_resid_mid"}""", "*(resid_mid)*between attention and MLP*")]
    [InlineData("""{"architecture": "standard", "hook_name": "blocks.0.hook_resid_pre"}""", "*(embedding)*no block outputs*")]
    [InlineData("""{"architecture": "standard"}""", "*which layer*")]
    [InlineData("""{"architecture": "temporal", "hook_name": "blocks.7.hook_resid_post"}""", "*no SAE format that is known*cfg.json does not say more*")]
    [InlineData("""{"architecture": "jumprelu", "hook_name": "blocks.7.hook_resid_post"}""", "*JumpReLU SAE without thresholds*")]
    [InlineData("""{"architecture": "gated", "hook_name": "blocks.7.hook_resid_post"}""", "*no array 'b_mag'*")]
    [InlineData("[]", "*expected a JSON object*")]
    public void Convert_WhatCannotSteer_IsRefusedWithTheReason(string config, string message) => Refused(config, WithBias(), message);

    private IEnumerable<double> Products(double[] x, bool centred)
    {
        var input = centred ? Minus(x, _sae.DecBias) : x;
        return _sae.W.Select(w => Dot(w, input));
    }

    private TestTensor[] WithBias() => [Matrix("W_enc", "DF", _sae.W), Matrix("W_dec", "FD", _sae.Decoder), Vector("b_enc", _sae.EncBias), Vector("b_dec", _sae.DecBias)];

    private static TestTensor[] Gated(PublishedSae sae) =>
        [Matrix("W_enc", "DF", sae.W), Matrix("W_dec", "FD", sae.Decoder), Vector("b_mag", sae.EncBias), Vector("b_gate", sae.GateBias), Vector("r_mag", sae.LogMagnitude), Vector("b_dec", sae.DecBias)];

    private SaeFile Convert(string config, TestTensor[] tensors, double? scale = null)
    {
        Directory.CreateDirectory(_folder.File("lens"));
        _folder.Write("lens/cfg.json", config);
        _folder.Write("lens/sae_weights.safetensors", TensorWriter.Safetensors(tensors));
        SaeConverter.Convert(new SaeConvertOptions(_folder.File("lens"), _folder.File("sae.gguf")) { InputScale = scale });
        return SaeFile.Open(_folder.File("sae.gguf"));
    }

    private void Refused(string config, TestTensor[] tensors, string message)
    {
        FluentActions.Invoking(() => Convert(config, tensors)).Should().Throw<YapoException>().WithMessage(message);
        Directory.GetFiles(_folder.Path).Should().BeEmpty("a refused conversion leaves nothing");
    }
}

using YaPO.Llama.Steering;

namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// Llama Scope, for Llama 3.1 8B: <c>Llama3_1-8B-Base-L15R-8x/</c> with <c>hyperparams.json</c> and <c>checkpoints/final.safetensors</c>, weights as torch's nn.Linear holds
/// them. In the original's load order: the data's mean norms are folded first, then the decoder's norms into the encoder, and the one threshold is compared as it
/// is: h = W_E·x + b_E, z = h · [h &gt; θ], x̂ = W_D·z + b_D. (He et al. 2024, arXiv 2410.20526.)
/// </summary>
internal static class LlamaScope
{
    public static SaeFormat Table { get; } = new()
    {
        Name = "llama-scope",
        Title = "Llama Scope final.safetensors",
        Files = ["checkpoints/final.safetensors", "final.safetensors"],
        Recognizes = s => s.Has("encoder.weight", "decoder.weight") && s.Config.Has("dataset_average_activation_norm"),
        Activation = s => OpenMoss.ActivationOf(s.Config),
        Tensors =
        [
            new(SaePart.Encoder, "FD", "encoder.weight"),
            new(SaePart.Decoder, "DF", "decoder.weight"),
            new(SaePart.EncoderBias, "F", "encoder.bias"),
            new(SaePart.DecoderBias, "D", "decoder.bias") { Optional = true },
            new(SaePart.LogThreshold, "F", "log_jumprelu_threshold") { Optional = true },
        ],
        Refused = OpenMoss.Gated,
        Steps =
        [
            .. OpenMoss.InputDependentNorms,
            SaeSteps.DatasetNorm with { When = c => c.Text("norm_activation") is null or "dataset-wise" },
            SaeSteps.SubtractDecoderBias with { When = c => c.Flag("apply_decoder_bias_to_pre_encoder", false) },
            SaeSteps.DecoderNorm with { When = c => c.Flag("sparsity_include_decoder_norm", true) },
            SaeSteps.ConstantThreshold("jump_relu_threshold") with { When = c => OpenMoss.ActivationOf(c) == SaeActivation.JumpRelu && c.Has("jump_relu_threshold") },
            SaeSteps.ExponentialThreshold with { When = c => OpenMoss.ActivationOf(c) == SaeActivation.JumpRelu && !c.Has("jump_relu_threshold") },
        ],
        Describe = s => OpenMoss.Describe(s) with
        {
            BaseArchitecture = "llama",
            BaseName = "Llama-3.1-8B",
            Attribution = "Llama Scope, OpenMOSS (He et al. 2024, arXiv 2410.20526)",
        },
    };
}

using YaPO.Llama.Steering;

namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// SAEs of OpenMOSS' Language-Model-SAEs since 2025: <c>config.json</c> and <c>sae_weights.safetensors</c> with W_E [D, F], W_D [F, D]. Loading folds the data's mean
/// norms (as in Llama Scope); encoding then counts activations in units of their decoder row's norm: s = (x·W_E + b_E) ∘ n, z = act(s) / n.
/// </summary>
internal static class OpenMoss
{
    /// <summary>A sigmoid on the encoder makes h no affine map of x.</summary>
    public static readonly IReadOnlyList<(string Name, string Reason)> Gated =
    [
        ("W_E_glu", "its encoder is a gated linear unit, no affine map of the input"),
        ("encoder_glu.weight", "its encoder is a gated linear unit, no affine map of the input"),
    ];

    /// <summary>Norms of the row at hand cannot be folded.</summary>
    public static readonly IReadOnlyList<SaeStep> InputDependentNorms =
    [
        SaeSteps.Refuse("it divides each row by its own norm (norm_activation token-wise or batch-wise), which no weights can express")
            with { When = c => c.Text("norm_activation") is "token-wise" or "batch-wise" },
    ];

    public static SaeFormat Table { get; } = new()
    {
        Name = "openmoss",
        Title = "OpenMOSS sae_weights.safetensors",
        Files = ["sae_weights.safetensors"],
        Recognizes = s => s.Has("W_E", "W_D"),
        Activation = s => ActivationOf(s.Config),
        Tensors =
        [
            new(SaePart.Encoder, "DF", "W_E"),
            new(SaePart.Decoder, "FD", "W_D"),
            new(SaePart.EncoderBias, "F", "b_E"),
            new(SaePart.DecoderBias, "D", "b_D") { Optional = true },
            new(SaePart.LogThreshold, "F", "activation_function.log_jumprelu_threshold", "log_jumprelu_threshold") { Optional = true },
            new(SaePart.InputNorm, "", "dataset_average_activation_norm.{hook_point_in}") { Optional = true },
            new(SaePart.OutputNorm, "", "dataset_average_activation_norm.{hook_point_out}") { Optional = true },
        ],
        Refused = Gated,
        Steps =
        [
            .. InputDependentNorms,
            SaeSteps.DatasetNorm with { When = c => c.Text("norm_activation") is "dataset-wise" },
            SaeSteps.SubtractDecoderBias with { When = c => c.Flag("apply_decoder_bias_to_pre_encoder", false) },
            SaeSteps.DecoderNorm with { When = c => c.Flag("sparsity_include_decoder_norm", true) },
            SaeSteps.ExponentialThreshold with { When = c => ActivationOf(c) == SaeActivation.JumpRelu },
        ],
        Describe = Describe,
    };

    /// <summary>What <c>act_fn</c> says; a batch-wise TopK has no meaning for one row and must have been turned into thresholds.</summary>
    public static SaeActivation ActivationOf(SaeConfig config) => config.Text("act_fn")?.ToLowerInvariant() switch
    {
        "relu" => SaeActivation.Relu,
        "topk" => SaeActivation.TopK,
        "jumprelu" => SaeActivation.JumpRelu,
        null => throw new YapoException(
            YapoErrorKind.Format, config.Exists ? $"{config.Path}: act_fn is missing" : "the config that names act_fn (config.json or hyperparams.json) is missing beside the weights"),
        var other => throw new YapoException(YapoErrorKind.Unsupported, $"{config.Path}: act_fn '{other}' is not supported, expected relu, jumprelu or topk"),
    };

    public static SaeDescription Describe(SaeSource s)
    {
        var type = s.Config.Text("sae_type");
        var hook = s.Config.Text("hook_point_in") is { } name ? HookPoint.Parse(name) : new HookPoint(null, HookPoint.Residual);
        return new SaeDescription
        {
            Hook = type is null or "sae" ? hook : hook with { Site = type },
            Output = s.Config.Text("hook_point_out") is { } output ? HookPoint.Parse(output) : null,
            TopK = ActivationOf(s.Config) == SaeActivation.TopK ? s.Config.Integer("top_k") : null,
            BaseName = s.Config.Text("model_name") ?? "",
            Name = s.FolderName(),
        };
    }
}

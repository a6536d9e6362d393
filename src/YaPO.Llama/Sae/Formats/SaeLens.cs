using YaPO.Llama.Safetensors;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// SAELens: <c>cfg.json</c> (version 6, or the flat one before) and <c>sae_weights.safetensors</c>. x' = x − b_dec unless apply_b_dec_to_input is off, then by
/// architecture: standard relu(x'·W + b); jumprelu relu(h)·[h &gt; threshold]; topk; gated (see <see cref="SaeSteps.Gate"/>). A batchtopk SAE is saved as jumprelu; its training
/// checkpoint holds one threshold. x̂ = z·W_dec + b_dec. Firing rates come from <c>sparsity.safetensors</c> (their log10) where it lies beside.
/// </summary>
internal static class SaeLens
{
    private const string InputDependent = "which depends on the row at hand and which no weights can express";

    private static readonly IReadOnlyList<SaeTensor> Common =
    [
        new(SaePart.Encoder, "DF", "W_enc"),
        new(SaePart.Decoder, "FD", "W_dec"),
        new(SaePart.DecoderBias, "D", "b_dec"),
        new(SaePart.ScalingFactor, "F", "scaling_factor") { Optional = true },
    ];

    private static readonly IReadOnlyList<SaeTensor> WithBias = [.. Common, new(SaePart.EncoderBias, "F", "b_enc")];

    private static readonly IReadOnlyList<SaeStep> Normalization =
    [
        SaeSteps.Refuse($"it divides each row by its own norm (normalize_activations constant_norm_rescale), {InputDependent}") with { When = c => Normalizes(c) == "constant_norm_rescale" },
        SaeSteps.Refuse($"it standardizes each row (normalize_activations layer_norm), {InputDependent}") with { When = c => Normalizes(c) == "layer_norm" },
        SaeSteps.InputScale with { When = c => Normalizes(c) == "expected_average_only_in" },
        SaeSteps.Refuse("cfg.json names a normalize_activations that is unknown")
            with { When = c => Normalizes(c) is not ("none" or "expected_average_only_in" or "constant_norm_rescale" or "layer_norm") },
        SaeSteps.Refuse("cfg.json names another activation function than relu or topk")
            with { When = c => ActivationFunction(c) is not (null or "relu" or "topk" or "jumprelu") },
        SaeSteps.DropScalingFactor,
    ];

    private static readonly SaeStep Centre = SaeSteps.SubtractDecoderBias with { When = c => c.Flag("apply_b_dec_to_input", true) };

    private static readonly SaeStep DecoderNorm = SaeSteps.DecoderNorm with { When = c => c.Flag("rescale_acts_by_decoder_norm", false) };

    public static IReadOnlyList<SaeFormat> Tables { get; } =
    [
        Variant("transcoder", "SAELens transcoder", a => a.Contains("transcoder", StringComparison.Ordinal)) with
        {
            Refusal = "it predicts a module's output from its input and rebuilds no residual stream, so it cannot steer",
        },
        Variant("gated", "SAELens gated SAE", a => a == "gated") with
        {
            Tensors =
            [
                .. Common,
                new(SaePart.EncoderBias, "F", "b_mag"),
                new(SaePart.GateBias, "F", "b_gate"),
                new(SaePart.LogMagnitude, "F", "r_mag"),
            ],
            Steps = [.. Normalization, SaeSteps.Gate, Centre],
        },
        Variant("topk", "SAELens TopK SAE", a => a == "topk") with
        {
            Activation = _ => SaeActivation.TopK,
            Tensors = WithBias,
            Steps = [.. Normalization, DecoderNorm, Centre],
        },
        Variant("jumprelu", "SAELens JumpReLU SAE", a => a is "jumprelu" or "batchtopk" or "matryoshka_batchtopk") with
        {
            Tensors =
            [
                .. WithBias,
                new(SaePart.Threshold, "F", "threshold") { Optional = true },
                new(SaePart.Threshold, "", "topk_threshold") { Optional = true },
            ],
            Steps = [.. Normalization, DecoderNorm, Centre],
        },
        Variant("standard", "SAELens ReLU SAE", a => a == "standard") with
        {
            Activation = _ => SaeActivation.Relu,
            Tensors = WithBias,
            Steps = [.. Normalization, Centre],
        },
    ];

    private static SaeFormat Variant(string variant, string title, Func<string, bool> architecture) => new()
    {
        Name = "saelens",
        Title = $"{title} ({variant})",
        Files = ["sae_weights.safetensors"],
        Recognizes = s => s.Tensors is SafetensorsReader && s.Config.Exists && s.Has("W_enc", "W_dec", "b_dec") && architecture(Architecture(s.Config)),
        RatesFile = ("sparsity.safetensors", "sparsity"),
        Describe = Describe,
    };

    /// <summary>Before version 6 a TopK SAE was a standard one with another activation function.</summary>
    private static string Architecture(SaeConfig c) => c.Text("architecture") switch
    {
        null or "standard" when ActivationFunction(c) == "topk" => "topk",
        null => "standard",
        var named => named,
    };

    private static string? ActivationFunction(SaeConfig c) => c.Text("activation_fn_str", "activation_fn");

    /// <summary>The oldest files hold a flag instead of a name.</summary>
    private static string Normalizes(SaeConfig c) => c.Has("normalize_activations") && c.IsFlag("normalize_activations")
        ? c.Flag("normalize_activations", false) ? "expected_average_only_in" : "none"
        : c.Text("normalize_activations") ?? "none";

    private static SaeDescription Describe(SaeSource s)
    {
        var c = s.Config;
        var name = c.Text("metadata.hook_name", "hook_name", "hook_point", "metadata.hf_hook_name", "hf_hook_name");
        var hook = name is null ? new HookPoint(null, HookPoint.Residual) : HookPoint.Parse(name);
        var output = c.Text("metadata.hook_name_out", "hook_name_out");
        return new SaeDescription
        {
            Hook = c.Text("reshape_activations") == "hook_z" ? hook with { Site = "att" } : hook,
            Output = output is null ? null : HookPoint.Parse(output),
            TopK = c.Integer("k", "activation_fn_kwargs.k"),
            BaseName = c.Text("metadata.model_name", "model_name") ?? "",
            Name = s.FolderName(),
        };
    }
}

using System.Text.RegularExpressions;

namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// Gemma Scope 2, for Gemma 3: <c>gemma-scope-2-4b-it/resid_post/layer_17_width_16k_l0_medium/params.safetensors</c>, with a <c>config.json</c> that names hook points,
/// model and L0; without it the folders do. Encoder and decoder as in Gemma Scope.
/// </summary>
internal static partial class GemmaScope2
{
    public static SaeFormat Table { get; } = new()
    {
        Name = "gemma-scope-2",
        Title = "Gemma Scope 2 params.safetensors",
        Files = ["params.safetensors"],
        Recognizes = s => s.Has("w_enc", "w_dec", "b_enc", "b_dec", "threshold"),
        Tensors =
        [
            new(SaePart.Encoder, "DF", "w_enc"),
            new(SaePart.Decoder, "FD", "w_dec"),
            new(SaePart.EncoderBias, "F", "b_enc"),
            new(SaePart.DecoderBias, "D", "b_dec"),
            new(SaePart.Threshold, "F", "threshold"),
        ],
        Refused = [("affine_skip_connection", "part of its output is an affine map of the input, which the run-time form has no place for")],
        Steps =
        [
            SaeSteps.Refuse("config.json says affine_connection: part of its output is an affine map of the input, which the run-time form has no place for")
                with { When = c => c.Flag("affine_connection", false) },
            SaeSteps.Refuse("config.json says another architecture than jump_relu") with { When = c => c.Text("architecture") is not (null or "jump_relu" or "jumprelu") },
            SaeSteps.SubtractDecoderBias with { When = c => c.Flag("apply_b_dec_to_input", false) },
        ],
        Describe = Describe,
    };

    private static SaeDescription Describe(SaeSource s)
    {
        var repository = s.FromPath(Repository());
        var folder = s.FromPath(SiteFolder());
        var path = new HookPoint(s.NumberFromPath(Layer()), folder is null or "resid_post" ? HookPoint.Residual : folder);
        var hook = s.Config.Text("hf_hook_point_in") is { } name ? HookPoint.Parse(name) : path;
        // A transcoder's input is a norm's output; the folder says more about it than the hook point.
        hook = path.Site is "transcoder" or "clt" or "crosscoder" ? hook with { Site = path.Site } : hook;
        var at = repository is null ? [] : s.Folders.SkipWhile(f => !Repository().IsMatch(f)).Skip(1).SkipWhile(f => !SiteFolder().IsMatch(f)).ToList();
        var inside = string.Join('/', at.SkipLast(1));
        return new SaeDescription
        {
            Hook = hook,
            Output = s.Config.Text("hf_hook_point_out") is { } output && hook.Site == HookPoint.Residual ? HookPoint.Parse(output) : null,
            BaseArchitecture = "gemma3",
            BaseName = s.Config.Text("model_name") ?? s.FromPath(Size()) switch { null => "", var size => $"gemma-3-{size}" },
            Name = repository is null ? "" : $"{repository}/{inside}",
            Source = repository is null ? "" : $"huggingface:google/{repository}/{inside}/params.safetensors",
            License = repository is null ? "" : "cc-by-4.0",
            Attribution = repository is null ? "" : "Gemma Scope 2, Google DeepMind",
            AverageL0 = s.Config.Real("l0"),
        };
    }

    [GeneratedRegex("(?:^|--)(gemma-scope-2-[0-9]+[mb]-(?:pt|it))$")]
    private static partial Regex Repository();

    [GeneratedRegex("(?:^|--)gemma-scope-2-([0-9]+[mb]-(?:pt|it))$")]
    private static partial Regex Size();

    [GeneratedRegex("^(resid_post|attn_out|mlp_out|transcoder|clt|crosscoder)(?:_all)?$")]
    private static partial Regex SiteFolder();

    [GeneratedRegex("^layer_([0-9]+)(?:_.*)?$")]
    private static partial Regex Layer();
}

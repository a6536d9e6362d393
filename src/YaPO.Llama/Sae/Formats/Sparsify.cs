using System.Text.RegularExpressions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// EleutherAI's sparsify: a folder per hook point (<c>layers.10</c> is the output of block 10) with <c>cfg.json</c> and <c>sae.safetensors</c>.
/// a = relu(W·(x − b_dec) + b), z = the k largest of a, x̂ = z·W_dec + b_dec.
/// </summary>
internal static partial class Sparsify
{
    public static SaeFormat Table { get; } = new()
    {
        Name = "sparsify",
        Title = "EleutherAI sparsify sae.safetensors",
        Files = ["sae.safetensors"],
        Recognizes = s => s.Has("encoder.weight", "encoder.bias", "W_dec", "b_dec"),
        Activation = _ => SaeActivation.TopK,
        Tensors =
        [
            new(SaePart.Encoder, "FD", "encoder.weight"),
            new(SaePart.Decoder, "FD", "W_dec"),
            new(SaePart.EncoderBias, "F", "encoder.bias"),
            new(SaePart.DecoderBias, "D", "b_dec"),
        ],
        Refused = [("W_skip", "a skip connection makes part of its output an affine map of the input, which the run-time form has no place for")],
        Steps =
        [
            SaeSteps.Refuse("it is a transcoder (cfg.json says transcode): it predicts a module's output from its input") with { When = c => c.Flag("transcode", false) },
            SaeSteps.Refuse("its activation is groupmax, which takes the largest feature of each of k groups: no TopK, and no threshold")
                with { When = c => c.Text("activation") is "groupmax" },
            SaeSteps.Refuse("cfg.json says another activation than topk") with { When = c => c.Text("activation") is not (null or "topk" or "groupmax") },
            SaeSteps.Refuse("it keeps negative activations (cfg.json says signed)") with { When = c => c.Flag("signed", false) },
            SaeSteps.SubtractDecoderBias,
        ],
        Describe = s =>
        {
            var hookPoint = s.FromPath(HookFolder());
            return new SaeDescription
            {
                Hook = hookPoint is null ? new HookPoint(null, HookPoint.Residual) : HookPoint.Parse(hookPoint),
                TopK = s.Config.Integer("k"),
                Name = s.FolderName(),
            };
        },
    };

    [GeneratedRegex(@"^((?:[a-z_]+\.)*(?:layers|h)\.[0-9]+(?:\..+)?|embed.*)$")]
    private static partial Regex HookFolder();
}

using System.Text.RegularExpressions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// Qwen-Scope: <c>SAE-Res-Qwen3.5-2B-Base-W32K-L0_50/layer12.sae.pt</c>, a pickled dictionary. h = W_enc·x + b_enc, z = the k largest of h (k from the folder's name),
/// x̂ = W_dec·z + b_dec; b_dec is not subtracted. The original keeps negative entries among the k largest; the run-time form is z = relu(topk(h)).
/// </summary>
internal static partial class QwenScope
{
    public static SaeFormat Table { get; } = new()
    {
        Name = "qwen-scope",
        Title = "Qwen-Scope layer*.sae.pt; negative activations among the k largest become 0",
        Files = ["layer*.sae.pt"],
        Recognizes = s => s.Tensors is Pytorch.PytorchReader && s.Has("W_enc", "W_dec", "b_enc", "b_dec"),
        Activation = _ => SaeActivation.TopK,
        Tensors =
        [
            new(SaePart.Encoder, "FD", "W_enc"),
            new(SaePart.Decoder, "DF", "W_dec"),
            new(SaePart.EncoderBias, "F", "b_enc"),
            new(SaePart.DecoderBias, "D", "b_dec"),
        ],
        Describe = s =>
        {
            var repository = s.FromPath(Repository());
            return new SaeDescription
            {
                Hook = new HookPoint(s.NumberFromPath(LayerFile()), HookPoint.Residual),
                TopK = s.NumberFromPath(ActiveFeatures()),
                BaseName = s.FromPath(Model()) ?? "",
                Name = repository is null ? "" : $"{repository}/{s.Folders[^1]}",
                Source = repository is null ? "" : $"huggingface:Qwen/{repository}/{s.Folders[^1]}",
                Attribution = repository is null ? "" : "Qwen-Scope, Qwen team (2026)",
            };
        },
    };

    [GeneratedRegex(@"^layer([0-9]+)\.sae\.pt$")]
    private static partial Regex LayerFile();

    [GeneratedRegex("(?:^|--)(SAE-Res-.+-W[0-9]+K-L0_[0-9]+)$")]
    private static partial Regex Repository();

    [GeneratedRegex("(?:^|--)SAE-Res-(.+)-W[0-9]+K-L0_[0-9]+$")]
    private static partial Regex Model();

    [GeneratedRegex("-L0_([0-9]+)$")]
    private static partial Regex ActiveFeatures();
}

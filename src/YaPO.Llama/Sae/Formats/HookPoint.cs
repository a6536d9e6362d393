using System.Globalization;
using System.Text.RegularExpressions;

namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// Where in the model an SAE reads. Published names count blocks from zero, as we do: the output of block N is <c>blocks.N.hook_resid_post</c> in TransformerLens,
/// <c>model.layers.N.output</c> or <c>layers.N</c> after Hugging Face's modules.
/// </summary>
/// <param name="Layer">Block number; null where the name has none.</param>
/// <param name="Site"><c>res</c>: the residual stream after the block; anything else cannot be steered.</param>
internal sealed partial record HookPoint(int? Layer, string Site)
{
    /// <summary>The residual stream after a block.</summary>
    public const string Residual = "res";

    private static readonly (Regex Pattern, string Site, int Shift)[] Names =
    [
        (ResidualPost(), Residual, 0),
        (ResidualPre(), Residual, -1), // what enters block N left block N − 1
        (ResidualMid(), "resid_mid", 0),
        (Mlp(), "mlp", 0),
        (Attention(), "att", 0),
        (AnyBlock(), "", 0),
    ];

    /// <summary>Reads a name; an unknown one becomes its own site, so that the refusal can quote it.</summary>
    public static HookPoint Parse(string name)
    {
        foreach (var (pattern, site, shift) in Names)
        {
            if (pattern.Match(name) is { Success: true } match && int.TryParse(match.Groups[1].Value, NumberStyles.None, CultureInfo.InvariantCulture, out var n))
            {
                return n + shift >= 0 ? new HookPoint(n + shift, site.Length > 0 ? site : name) : new HookPoint(null, "embedding");
            }
        }

        return new HookPoint(null, name);
    }

    /// <summary>Why an SAE at this site cannot steer; null where it can.</summary>
    public static string? Refusal(string site) => site switch
    {
        Residual => null,
        "mlp" or "mlp_out" or "mlps" => "it describes what an MLP adds to the residual stream, not the stream itself",
        "att" or "attn_out" or "attn" => "it describes what attention adds to the residual stream, or its heads, not the stream itself",
        "transcoder" or "transcoders" or "transcoder_all" => "it is a transcoder: it predicts an MLP's output from its input and rebuilds no residual stream",
        "clt" => "it is a cross-layer transcoder: its features write to many layers and rebuild no residual stream",
        "crosscoder" => "it is a crosscoder: its features span several layers or models and rebuild no single residual stream",
        "embedding" or "embed" => "it describes the embeddings, which no block outputs",
        "resid_mid" => "it describes the stream between attention and MLP inside a block; steering acts after a block",
        _ => $"it reads '{site}', which is not known to be the residual stream after a block",
    };

    [GeneratedRegex(@"^(?:blocks\.(?=\d+\.hook_resid_post$)|(?:[a-z_]+\.)*(?:layers|h)\.(?=\d+(?:\.output)?$))(\d+)(?:\.hook_resid_post|\.output)?$")]
    private static partial Regex ResidualPost();

    [GeneratedRegex(@"^blocks\.(\d+)\.hook_resid_pre$")]
    private static partial Regex ResidualPre();

    [GeneratedRegex(@"^blocks\.(\d+)\.hook_resid_mid$")]
    private static partial Regex ResidualMid();

    [GeneratedRegex(@"^(?:blocks|(?:[a-z_]+\.)*(?:layers|h))\.(\d+)\.(?:hook_mlp_out|mlp(?:\.output)?|post_feedforward_layernorm\.output)$")]
    private static partial Regex Mlp();

    [GeneratedRegex(@"^(?:blocks|(?:[a-z_]+\.)*(?:layers|h))\.(\d+)\.(?:hook_attn_out|attn\.hook_z|attn|attention|self_attn(?:\..*)?|post_attention_layernorm\.output)$")]
    private static partial Regex Attention();

    [GeneratedRegex(@"^(?:blocks|(?:[a-z_]+\.)*(?:layers|h))\.(\d+)\..*$")]
    private static partial Regex AnyBlock();
}

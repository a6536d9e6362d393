using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sae;

/// <summary>What an SAE file says about itself (<c>yapo.sae.*</c>, <c>yapo.base.*</c>). D = d_model, F = width.</summary>
public sealed record SaeInfo
{
    /// <summary>Zero-based block whose output residual it reads.</summary>
    public required int Layer { get; init; }

    /// <summary>D.</summary>
    public required int DModel { get; init; }

    /// <summary>F.</summary>
    public required int Width { get; init; }

    /// <summary>Where it reads; only <c>res</c>, the residual stream after the block, can steer.</summary>
    public string Site { get; init; } = "res";

    /// <summary>Activation.</summary>
    public SaeActivation Activation { get; init; } = SaeActivation.JumpRelu;

    /// <summary>k of a TopK SAE; 0 otherwise.</summary>
    public int TopK { get; init; }

    /// <summary>The model it was trained on, where known.</summary>
    public BaseModel Base { get; init; } = BaseModel.Unknown;

    /// <summary>Name, for people.</summary>
    public string Name { get; init; } = "";

    /// <summary>Where it came from.</summary>
    public string Source { get; init; } = "";

    /// <summary>
    /// SHA-256 of the file it was converted from; empty for one that was trained here. Copies in another storage type keep it: it is the
    /// identity by which vectors of the same SAE act jointly.
    /// </summary>
    public string SourceSha256 { get; init; } = "";

    /// <summary>Licence of the weights.</summary>
    public string License { get; init; } = "";

    /// <summary>Whom to credit.</summary>
    public string Attribution { get; init; } = "";

    /// <summary>What the conversion did to the published weights, step by step.</summary>
    public IReadOnlyList<string> Conversion { get; init; } = [];

    /// <summary>Published mean number of active features per token (<c>yapo.sae.average_l0</c>), where known.</summary>
    public float? AverageL0 { get; init; }

    /// <summary>Checks ranges.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>; <paramref name="what"/> opens the message.</exception>
    public void Validate(string what)
    {
        if (DModel is < 1 or > 1 << 20 || Width is < 1 or > 1 << 26 || Layer is < 0 or > 100_000 || TopK < 0 || TopK > Width
            || (Activation == SaeActivation.TopK && TopK == 0) || (AverageL0 is { } l0 && !(l0 >= 0 && l0 <= Width)))
        {
            throw new YapoException(YapoErrorKind.Format, $"{what}: d_model {DModel}, width {Width}, layer {Layer}, topk {TopK} or average_l0 {AverageL0} is out of range");
        }
    }
}

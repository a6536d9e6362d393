using System.Globalization;
using System.Text.RegularExpressions;

namespace YaPO.Llama.Sae;

/// <summary>
/// What the folders of a Gemma Scope download say:
/// <c>google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82/params.npz</c>. Missing parts are null or empty.
/// </summary>
public sealed partial record GemmaScopePath
{
    /// <summary>Repository name, such as <c>gemma-scope-2b-pt-res</c>.</summary>
    public string Repository { get; init; } = "";

    /// <summary>Site named at the end of the repository: <c>res</c>, <c>mlp</c>, <c>att</c>, or <c>transcoders</c>.</summary>
    public string Site { get; init; } = "";

    /// <summary>Block number.</summary>
    public int? Layer { get; init; }

    /// <summary>Nominal width, such as <c>16k</c>.</summary>
    public string Width { get; init; } = "";

    /// <summary>Published mean number of active features.</summary>
    public float? AverageL0 { get; init; }

    /// <summary>Name of the base model, such as <c>gemma-2-2b</c> or <c>gemma-2-9b-it</c>.</summary>
    public string BaseName { get; init; } = "";

    /// <summary>The parts that are known, joined as the repository spells them.</summary>
    public string Name => string.Join('/', new[]
    {
        Repository,
        Layer is { } l ? $"layer_{l}" : "",
        Width.Length > 0 ? $"width_{Width}" : "",
        AverageL0 is { } x ? "average_l0_" + x.ToString(CultureInfo.InvariantCulture) : "",
    }.Where(s => s.Length > 0));

    /// <summary>Reads the folder names, wherever they stand in the path.</summary>
    public static GemmaScopePath Parse(string path)
    {
        var result = new GemmaScopePath();
        foreach (var part in path.Split('/', '\\'))
        {
            // Hugging Face's cache spells a repository models--google--gemma-scope-2b-pt-res.
            var name = part[(part.LastIndexOf("--", StringComparison.Ordinal) is var i and >= 0 ? i + 2 : 0)..];
            if (RepositoryPattern().Match(name) is { Success: true } repository)
            {
                var tuned = repository.Groups["tuning"].Value == "it" ? "-it" : "";
                result = result with { Repository = name, Site = repository.Groups["site"].Value, BaseName = $"gemma-2-{repository.Groups["size"].Value}{tuned}" };
            }
            else if (LayerPattern().Match(name) is { Success: true } layer && int.TryParse(layer.Groups[1].Value, NumberStyles.None, CultureInfo.InvariantCulture, out var l))
            {
                result = result with { Layer = l };
            }
            else if (WidthPattern().Match(name) is { Success: true } width)
            {
                result = result with { Width = width.Groups[1].Value };
            }
            else if (L0Pattern().Match(name) is { Success: true } l0 && float.TryParse(l0.Groups[1].Value, NumberStyles.Float, CultureInfo.InvariantCulture, out var x) && float.IsFinite(x))
            {
                result = result with { AverageL0 = x };
            }
        }

        return result;
    }

    [GeneratedRegex(@"^gemma-scope-(?<size>\d+b)-(?<tuning>pt|it)-(?<site>res|mlp|att|transcoders)$")]
    private static partial Regex RepositoryPattern();

    [GeneratedRegex(@"^layer_(\d+)$")]
    private static partial Regex LayerPattern();

    [GeneratedRegex(@"^width_(\d+[km]?)$")]
    private static partial Regex WidthPattern();

    [GeneratedRegex(@"^average_l0_(\d+(?:\.\d+)?)$")]
    private static partial Regex L0Pattern();
}

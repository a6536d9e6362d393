using YaPO.Llama.Inspection;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Cli.Inspect;

/// <summary>What is known about features: a label from a file or from the SAE, and the tokens that they promote, looked up once for all that are shown.</summary>
internal sealed class FeatureNames(LlamaModel model, SaeFile sae, IReadOnlyDictionary<int, string>? labels, int promoted)
{
    private readonly Dictionary<int, IReadOnlyList<PromotedToken>> _promotes = [];

    /// <summary>Finds what these features promote: one pass over the unembedding.</summary>
    /// <exception cref="YapoException">The model file does not hold its unembedding (<see cref="YapoErrorKind.Unsupported"/>).</exception>
    public void Prepare(IEnumerable<int> features, CancellationToken cancellation)
    {
        var wanted = features.Distinct().Where(f => !_promotes.ContainsKey(f)).ToArray();
        if (promoted == 0 || wanted.Length == 0)
        {
            return;
        }

        var directions = wanted.Select(f =>
        {
            var row = new float[sae.Info.DModel];
            sae.ReadDecoder(f, row);
            return (ReadOnlyMemory<float>)row;
        }).ToArray();
        foreach (var (feature, tokens) in wanted.Zip(PromotedTokens.Of(model, directions, promoted, cancellation)))
        {
            _promotes[feature] = tokens;
        }
    }

    /// <summary>From --labels, else from the SAE; null where neither says anything.</summary>
    public string? Label(int feature) => labels is not null ? labels.GetValueOrDefault(feature)
        : sae.Labels is { } own && own[feature].Length > 0 ? own[feature] : null;

    /// <summary>The tokens that the feature promotes, the strongest first; empty where not prepared.</summary>
    public IReadOnlyList<PromotedToken> Promotes(int feature) => _promotes.GetValueOrDefault(feature, []);
}

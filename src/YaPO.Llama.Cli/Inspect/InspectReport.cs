using YaPO.Llama.Inspection;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Cli.Inspect;

/// <summary>A feature on a whole text, BOS left out.</summary>
/// <param name="Feature">The latent.</param>
/// <param name="Firing">Tokens on which it is active.</param>
/// <param name="Max">Its largest activation.</param>
/// <param name="Peak">The token where that is.</param>
/// <param name="Weight">Σ z · ‖W_dec‖ over the tokens: what features are ranked by.</param>
internal sealed record FeatureOfText(int Feature, int Firing, float Max, TokenFeatures Peak, double Weight)
{
    /// <summary>The <paramref name="top"/> features that carry most of the text's residuals.</summary>
    public static IReadOnlyList<FeatureOfText> Rank(IReadOnlyList<TokenFeatures> tokens, SaeFile sae, int top)
    {
        var row = new float[sae.Info.DModel];
        return
        [
            .. tokens.Where(t => !t.IsBos).SelectMany(t => t.Active.Select(a => (Token: t, a.Feature, a.Activation))).GroupBy(x => x.Feature).Select(g =>
            {
                sae.ReadDecoder(g.Key, row);
                var peak = g.MaxBy(x => x.Activation);
                return new FeatureOfText(g.Key, g.Count(), peak.Activation, peak.Token, g.Sum(x => (double)x.Activation) * Math.Sqrt(row.Sum(x => (double)x * x)));
            }).OrderByDescending(f => f.Weight).ThenBy(f => f.Feature).Take(top),
        ];
    }
}

/// <summary>Everything that inspect found.</summary>
internal sealed class InspectReport
{
    public required string Model { get; init; }

    public required SaeFile Sae { get; init; }

    public required int Top { get; init; }

    public IReadOnlyList<TokenFeatures> Tokens { get; set; } = [];

    public IReadOnlyList<FeatureOfText> Features { get; set; } = [];

    public int? Feature { get; set; }

    public FeatureSnippets? Snippets { get; set; }

    public IReadOnlyList<VectorEffect> Effects { get; set; } = [];

    /// <summary>Every feature whose label is shown.</summary>
    public IEnumerable<int> ListedFeatures() =>
        Features.Select(f => f.Feature).Concat(Feature is { } one ? [one] : []).Concat(Effects.Where(InThisSae).SelectMany(e => e.Features.Take(Top)).Select(f => f.Feature));

    /// <summary>Whether the numbers of a vector's features are those of this SAE, so that its labels apply.</summary>
    public bool InThisSae(VectorEffect effect) => effect.Layer == Sae.Info.Layer && effect.Features.All(f => f.Feature < Sae.Info.Width);

    /// <summary>The JSON.</summary>
    public object Document(FeatureNames names) => new
    {
        Model,
        Sae = Sae.Path,
        Sae.Info.Layer,
        Sae.Info.Width,
        Tokens = Tokens.Count == 0 ? null : Tokens.Select(t => new
        {
            t.Position,
            t.Token,
            t.Text,
            Bos = t.IsBos ? true : (bool?)null,
            Active = t.Active.Count,
            Features = t.Active.Take(Top).Select(a => new { a.Feature, a.Activation }),
        }),
        Features = Tokens.Count == 0 ? null : Features.Select(f => new
        {
            f.Feature,
            f.Firing,
            f.Max,
            Peak = f.Peak.Position,
            f.Weight,
            Label = names.Label(f.Feature),
            Promotes = Promoted(names, f.Feature),
        }),
        Feature = Feature is not { } feature ? null : new
        {
            Feature = feature,
            Label = names.Label(feature),
            Promotes = Promoted(names, feature),
            Activations = Tokens.Count == 0 ? null : Tokens.Select(t => t.Activation(feature)),
            TokensRead = Snippets?.Tokens,
            Snippets?.Firing,
            Snippets?.Max,
            Snippets = Snippets?.Snippets.Select(s => new
            {
                s.Document,
                s.Activation,
                s.Peak,
                Text = string.Concat(s.Tokens.Select(t => t.Text)),
                Tokens = s.Tokens.Select(t => new { t.Text, t.Activation }),
            }),
        },
        Vectors = Effects.Count == 0 ? null : Effects.Select(e => new
        {
            e.Names,
            e.Layer,
            e.SteeredTokens,
            e.RelativeChange,
            Features = e.Features.Take(Top).Select(f => new
            {
                f.Feature,
                f.Value,
                f.Firing,
                f.Acting,
                f.MeanChange,
                f.DecoderNorm,
                f.Effect,
                Label = InThisSae(e) ? names.Label(f.Feature) : null,
                Promotes = InThisSae(e) ? Promoted(names, f.Feature) : null,
            }),
        }),
    };

    private static object? Promoted(FeatureNames names, int feature) => names.Promotes(feature) is { Count: > 0 } tokens ? tokens : null;
}

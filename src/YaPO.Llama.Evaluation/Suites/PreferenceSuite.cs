using YaPO.Llama.Datasets;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Evaluation.Suites;

/// <summary>
/// Preference pairs. Value: 1 where the chosen answer is likelier than the rejected one, a half where they are equally likely (whole answers, log-probabilities summed over tokens); detail: that margin in nats.
/// </summary>
public sealed class PreferenceSuite(IReadOnlyList<PreferencePair> pairs) : ISuite
{
    /// <inheritdoc/>
    public string Name => "preference";

    /// <inheritdoc/>
    public string Measure => "share of pairs in which the chosen answer is likelier";

    /// <inheritdoc/>
    public string DetailMeasure => "margin of chosen over rejected (nats)";

    /// <inheritdoc/>
    public bool IsShare => true;

    /// <inheritdoc/>
    public bool LowerIsBetter => false;

    /// <inheritdoc/>
    public string PrimaryGroup => "";

    /// <inheritdoc/>
    public int Count => pairs.Count;

    /// <inheritdoc/>
    public int Topics => pairs.Select(Topic).Distinct().Count();

    /// <inheritdoc/>
    public IReadOnlyList<int[]> Prompts(SteeredScorer scorer) => [.. pairs.Select(p => scorer.Format.Prompt(p.Prompt))];

    /// <inheritdoc/>
    public IReadOnlyList<ItemOutcome> Run(SteeredScorer scorer, Steering steering, CancellationToken cancellation = default)
    {
        var requests = pairs.SelectMany(pair =>
        {
            var prompt = scorer.Format.Prompt(Asked(pair.Prompt, steering));
            return new[] { pair.Chosen, pair.Rejected }.Select(answer => new ScoreRequest(prompt, scorer.Format.Answer(answer)));
        });
        var results = scorer.Score([.. requests], steering, cancellation);
        return
        [
            .. pairs.Select((pair, i) =>
            {
                var margin = results[2 * i].LogProb - results[(2 * i) + 1].LogProb;
                return new ItemOutcome($"line {pair.Line}", Topic(pair), margin > 0 ? 1 : margin == 0 ? 0.5 : 0, Detail: double.IsFinite(margin) ? margin : null, Tied: margin == 0);
            }),
        ];
    }

    /// <inheritdoc/>
    public ISuite Sample(int items) => new PreferenceSuite(Spread.Over(pairs, items));

    /// <summary>A conversation whose last question is put as the steering wants it.</summary>
    internal static IReadOnlyList<ChatMessage> Asked(IReadOnlyList<ChatMessage> messages, Steering steering) =>
        steering.Prompt is null ? messages : [.. messages.SkipLast(1), messages[^1] with { Content = steering.Ask(messages[^1].Content) }];

    private static string Topic(PreferencePair pair) => pair.Extra.TryGetValue("topic", out var topic) ? topic : $"line {pair.Line}";
}

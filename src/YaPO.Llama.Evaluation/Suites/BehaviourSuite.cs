using YaPO.Llama.Datasets;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Evaluation.Suites;

/// <summary>Open questions whose generated answers a judge scores. Value: the score.</summary>
public sealed class BehaviourSuite(IReadOnlyList<PromptItem> prompts, IJudge judge, GenerationOptions generation) : ISuite
{
    /// <inheritdoc/>
    public string Name => "behaviour";

    /// <inheritdoc/>
    public string Measure => judge.Measure;

    /// <inheritdoc/>
    public string DetailMeasure => judge.DetailMeasure;

    /// <inheritdoc/>
    public bool IsShare => judge.IsShare;

    /// <inheritdoc/>
    public bool LowerIsBetter => false;

    /// <inheritdoc/>
    public string PrimaryGroup => "";

    /// <inheritdoc/>
    public int Count => prompts.Count;

    /// <inheritdoc/>
    public int Topics => prompts.Select(Topic).Distinct().Count();

    /// <inheritdoc/>
    public IReadOnlyList<int[]> Prompts(SteeredScorer scorer) => [.. prompts.Select(p => scorer.Format.Prompt(p.Messages))];

    /// <inheritdoc/>
    public IReadOnlyList<ItemOutcome> Run(SteeredScorer scorer, Steering steering, CancellationToken cancellation = default)
    {
        var asked = prompts.Select((p, i) => new BatchPrompt(scorer.Format.Prompt(PreferenceSuite.Asked(p.Messages, steering)), unchecked(generation.Sampler.Seed + (uint)i))).ToList();
        var answers = scorer.Generate(asked, steering, generation, cancellation);
        var judged = judge.Judge([.. prompts.Zip(answers, (p, a) => new Answered(p.Messages[^1].Content, a.Text, Text(p, "group") ?? ""))], cancellation);
        return [.. prompts.Select((p, i) => new ItemOutcome($"line {p.Line}", Topic(p), judged[i].Score, Detail: judged[i].Detail, Text: answers[i].Text))];
    }

    /// <inheritdoc/>
    public ISuite Sample(int items) => new BehaviourSuite(Spread.Over(prompts, items), judge, generation);

    private static string Topic(PromptItem prompt) => Text(prompt, "topic") ?? $"line {prompt.Line}";

    private static string? Text(PromptItem prompt, string field) =>
        prompt.Extra.TryGetValue(field, out var json) && json.StartsWith('"') ? System.Text.Json.JsonSerializer.Deserialize<string>(json) : null;
}

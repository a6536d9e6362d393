using YaPO.Llama.Datasets;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Evaluation.Suites;

/// <summary>How an answer is read off the model.</summary>
public enum ChoiceMode
{
    /// <summary>The option whose text, with the end of the turn, has the highest log-probability.</summary>
    Text,

    /// <summary>The options stand in the prompt with letters, turned so that each stands once in every place; the likeliest letter counts.</summary>
    Letter,

    /// <summary>The greedy answer, which must hold the telling part of exactly one option.</summary>
    Generated,
}

/// <summary>Settings of a <see cref="ChoiceSuite"/>.</summary>
public sealed record ChoiceSuiteOptions
{
    /// <summary>How answers are read.</summary>
    public ChoiceMode Mode { get; init; }

    /// <summary>The label (a culture) that counts; null: each item's own answer.</summary>
    public string? Label { get; init; }

    /// <summary>How lettered options are written.</summary>
    public LetterLayout Layout { get; init; }

    /// <summary>Generated answers: also show the options, with letters, and accept a letter.</summary>
    public bool ShowOptions { get; init; }

    /// <summary>Solved items put in front of every question.</summary>
    public IReadOnlyList<MultipleChoiceItem> Examples { get; init; } = [];

    /// <summary>Longest generated answer.</summary>
    public int MaxTokens { get; init; } = 48;
}

/// <summary>Multiple-choice questions. Value: 1 where the option that counts is picked (by letter: the share of turns in which it is); of options that are equally likely, its share of them.</summary>
public sealed class ChoiceSuite : ISuite
{
    private readonly ChoiceSuiteOptions _options;
    private readonly IReadOnlyList<ChoiceItem> _items;
    private readonly (string Question, string Answer)[] _examples;

    /// <summary>Decides what counts in every item.</summary>
    /// <exception cref="YapoException">An item for which nothing can count, or no item left for the label.</exception>
    public ChoiceSuite(IEnumerable<MultipleChoiceItem> items, ChoiceSuiteOptions? options = null)
        : this([.. items.Select(i => ChoiceItem.Of(i, options?.Label)).OfType<ChoiceItem>()], options ?? new ChoiceSuiteOptions())
    {
        if (_items.Count == 0)
        {
            throw new YapoException(YapoErrorKind.Format, $"no question is about '{options?.Label}'; is the label spelled as in the data?");
        }
    }

    private ChoiceSuite(IReadOnlyList<ChoiceItem> items, ChoiceSuiteOptions options)
    {
        (_items, _options) = (items, options);
        PrimaryGroup = items.Any(i => i.Group == ChoiceItem.Open) ? ChoiceItem.Open : items.Any(i => i.Group == ChoiceItem.Named) ? ChoiceItem.Named : items.Count > 0 ? items[0].Group : "";
        _examples = [.. options.Examples.Select(Example)];
    }

    /// <inheritdoc/>
    public string Name => $"mcq by {_options.Mode.ToString().ToLowerInvariant()}{(_examples.Length > 0 ? $", {_examples.Length}-shot" : "")}";

    /// <inheritdoc/>
    public string Measure => _options.Label is { } label ? $"share of questions answered as '{label}'" : "share of questions answered right";

    /// <inheritdoc/>
    public string DetailMeasure => _options.Mode == ChoiceMode.Generated ? "" : "margin over the best other option (nats)";

    /// <inheritdoc/>
    public bool IsShare => true;

    /// <inheritdoc/>
    public bool LowerIsBetter => false;

    /// <inheritdoc/>
    public string PrimaryGroup { get; }

    /// <inheritdoc/>
    public int Count => _items.Count;

    /// <inheritdoc/>
    public int Topics => _items.Where(i => i.Group == PrimaryGroup).Select(i => i.Item.Topic).Distinct().Count();

    /// <inheritdoc/>
    public IReadOnlyList<int[]> Prompts(SteeredScorer scorer) => [.. _items.Select(i => scorer.Format.Prompt(i.Item.Prompt, _examples))];

    /// <summary>The items with what counts in each.</summary>
    public IReadOnlyList<ChoiceItem> Items => _items;

    /// <inheritdoc/>
    public IReadOnlyList<ItemOutcome> Run(SteeredScorer scorer, Steering steering, CancellationToken cancellation = default) => _options.Mode switch
    {
        ChoiceMode.Text => ByText(scorer, steering, cancellation),
        ChoiceMode.Letter => ByLetter(scorer, steering, cancellation),
        _ => Generated(scorer, steering, cancellation),
    };

    /// <inheritdoc/>
    public ISuite Sample(int items) => new ChoiceSuite(Spread.Over([.. _items.Where(i => i.Group == PrimaryGroup)], items), _options);

    private List<ItemOutcome> ByText(SteeredScorer scorer, Steering steering, CancellationToken cancellation) => Scored(
        scorer, steering,
        [.. _items.Select(i => (scorer.Format.Prompt(steering.Ask(i.Item.Prompt), _examples), Answers: i.Item.Options.Select(o => scorer.Format.Answer(o)).ToArray()))],
        _ => 1, (item, _) => item.Target, cancellation);

    private List<ItemOutcome> ByLetter(SteeredScorer scorer, Steering steering, CancellationToken cancellation) => Scored(
        scorer, steering,
        [
            .. _items.SelectMany(i => Enumerable.Range(0, i.Item.Options.Count).Select(turn =>
            {
                var options = Enumerable.Range(0, i.Item.Options.Count).Select(o => i.Item.Options[(o + turn) % i.Item.Options.Count]);
                return (
                    scorer.Format.Prompt(LetteredPrompt.Write(steering.Ask(i.Item.Prompt), options, _options.Layout), _examples),
                    Answers: Enumerable.Range(0, i.Item.Options.Count).Select(o => scorer.Format.Answer(LetteredPrompt.Answer(o, _options.Layout), whole: false)).ToArray());
            })),
        ],
        item => item.Item.Options.Count, (item, turn) => ((item.Target - turn) % item.Item.Options.Count + item.Item.Options.Count) % item.Item.Options.Count, cancellation);

    /// <summary>Scores prompts with their answers; each item owns a run of prompts and is worth the share of them in which the target is likeliest.</summary>
    private List<ItemOutcome> Scored(
        SteeredScorer scorer, Steering steering, List<(int[] Prompt, int[][] Answers)> asked, Func<ChoiceItem, int> prompts, Func<ChoiceItem, int, int> target, CancellationToken cancellation)
    {
        var results = scorer.Score([.. asked.SelectMany(a => a.Answers.Select(answer => new ScoreRequest(a.Prompt, answer)))], steering, cancellation);
        var at = 0;
        var outcomes = new List<ItemOutcome>(_items.Count);
        foreach (var item in _items)
        {
            var (right, margin, tied, n) = (0.0, 0.0, false, prompts(item));
            for (var turn = 0; turn < n; turn++)
            {
                var scores = item.Item.Options.Select(_ => results[at++].LogProb).ToArray();
                var wanted = target(item, turn);
                var credit = ChoiceResults.Credit(scores, o => o == wanted);
                right += credit;
                tied |= credit is > 0 and < 1;
                margin += scores[wanted] - scores.Where((_, o) => o != wanted).Max();
            }

            outcomes.Add(new ItemOutcome(item.Item.Id, item.Item.Topic, right / n, item.Group, Detail: double.IsFinite(margin) ? margin / n : null, Tied: tied));
        }

        return outcomes;
    }

    private List<ItemOutcome> Generated(SteeredScorer scorer, Steering steering, CancellationToken cancellation)
    {
        var prompts = _items.Select(i => new BatchPrompt(scorer.Format.Prompt(
            _options.ShowOptions ? LetteredPrompt.Write(steering.Ask(i.Item.Prompt), i.Item.Options, _options.Layout) : steering.Ask(i.Item.Prompt), _examples))).ToList();
        var answers = scorer.Generate(prompts, steering, new GenerationOptions { MaxTokens = _options.MaxTokens, Sampler = SamplerOptions.Greedy }, cancellation);
        return [.. _items.Zip(answers, (item, answer) => new ItemOutcome(item.Item.Id, item.Item.Topic, Picked(item, answer.Text) == item.Target ? 1 : 0, item.Group, Text: answer.Text))];
    }

    private int? Picked(ChoiceItem item, string answer)
    {
        if (_options.ShowOptions)
        {
            return LetteredPrompt.Read(answer, item.Item.Options);
        }

        var contents = item.Item.Contents ?? item.Item.Options;
        var found = Enumerable.Range(0, contents.Count).Where(o => ChoiceResults.Holds(answer, contents[o])).ToList();
        return found.Count == 1 ? found[0] : null;
    }

    private (string Question, string Answer) Example(MultipleChoiceItem item)
    {
        var target = item.Answer ?? throw new YapoException(YapoErrorKind.Format, $"few-shot example {item.Id} has no answer to show");
        var lettered = _options.Mode == ChoiceMode.Letter || (_options.Mode == ChoiceMode.Generated && _options.ShowOptions);
        return !lettered ? (item.Prompt, item.Options[target])
            : (LetteredPrompt.Write(item.Prompt, item.Options, _options.Layout), LetteredPrompt.Answer(target, _options.Layout) + (_options.Layout == LetterLayout.Parenthesized ? ")" : ""));
    }
}

using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Evaluation;

/// <summary>The question sets a vector is judged by. Validation chooses, test reports.</summary>
/// <param name="Validation">Open questions with labelled options.</param>
/// <param name="Test">The same for topics nothing was chosen on.</param>
/// <param name="KnowledgeValidation">Questions with one right answer that steering should leave alone.</param>
/// <param name="KnowledgeTest">The same for the report.</param>
public sealed record VectorSuite(
    IReadOnlyList<MultipleChoiceItem> Validation,
    IReadOnlyList<MultipleChoiceItem> Test,
    IReadOnlyList<MultipleChoiceItem> KnowledgeValidation,
    IReadOnlyList<MultipleChoiceItem> KnowledgeTest);

/// <summary>What one way of steering does to one model.</summary>
/// <param name="Target">Share of open questions whose likeliest answer is the wanted one.</param>
/// <param name="Shares">The same share for every label.</param>
/// <param name="Knowledge">Accuracy on culture-free questions; null where not measured.</param>
/// <param name="Generated">Share of greedy answers that hold the wanted answer and no other; null where not generated.</param>
/// <param name="KnowledgeGenerated">Share of greedy answers to culture-free questions that are the right sentence; null where not generated.</param>
public sealed record Outcome(Interval Target, IReadOnlyDictionary<string, double> Shares, Interval? Knowledge, Interval? Generated, Interval? KnowledgeGenerated);

/// <summary>The test set under one steering, before anybody asks for a label: several cultures share the unsteered one.</summary>
/// <param name="Items">Open questions.</param>
/// <param name="Scores">Log-probability of every option.</param>
/// <param name="Knowledge">Accuracy on culture-free questions; null where not measured.</param>
/// <param name="Answers">Greedy answers; null where not generated.</param>
/// <param name="KnowledgeGenerated">Share of right greedy answers to culture-free questions; null where not generated.</param>
public sealed record RawOutcome(IReadOnlyList<MultipleChoiceItem> Items, IReadOnlyList<double[]> Scores, Interval? Knowledge, IReadOnlyList<string>? Answers, Interval? KnowledgeGenerated)
{
    /// <summary>Seen from one label.</summary>
    public Outcome For(string label) => new(
        ChoiceResults.Preferred(Items, Scores, label),
        Items[0].Labels!.Order(StringComparer.Ordinal).ToDictionary(l => l, l => ChoiceResults.Preferred(Items, Scores, l).Value),
        Knowledge,
        Answers is null ? null : ChoiceResults.Generated(Items, Answers, label),
        KnowledgeGenerated);
}

/// <summary>One row of the choice of strength.</summary>
/// <param name="Strength">λ.</param>
/// <param name="Target">Share on validation questions.</param>
/// <param name="Generated">Share of greedy answers to them that hold the wanted answer and no other.</param>
/// <param name="Knowledge">Accuracy on validation knowledge.</param>
public sealed record StrengthPoint(float Strength, double Target, double Generated, double Knowledge);

/// <summary>Measures vectors on one model.</summary>
public sealed class VectorEvaluator : IDisposable
{
    private readonly SteeredScorer _scorer;
    private readonly VectorSuite _suite;

    /// <summary>Opens a context on a model.</summary>
    public VectorEvaluator(LlamaModel model, VectorSuite suite, int threads = 1)
    {
        _scorer = new SteeredScorer(model, new ScoringOptions { Threads = threads });
        _suite = suite;
    }

    /// <summary>
    /// Tries strengths on validation. Among those that cost at most <see cref="StrengthRule.KnowledgeBudget"/> of the validation knowledge (the smallest strength
    /// where none does), chosen is what <see cref="StrengthRule"/> takes by the share of wanted generated answers. Log-probabilities alone would choose strengths at which the ranking of four given answers is right and the
    /// model's own text has long collapsed.
    /// </summary>
    public (float Strength, List<StrengthPoint> Points) ChooseStrength(AttachedVector vector, string label, IEnumerable<float> strengths, CancellationToken cancellation = default)
    {
        var baseline = ChoiceResults.Accuracy(_suite.KnowledgeValidation, _scorer.Score(_suite.KnowledgeValidation, Steering.None, cancellation)).Value;
        var points = new List<StrengthPoint>();
        var generated = new List<IReadOnlyList<ItemOutcome>>();
        foreach (var strength in strengths.Order())
        {
            var steering = Steering.Of(vector, strength);
            generated.Add(ChoiceResults.GeneratedItems(_suite.Validation, _scorer.Generate(_suite.Validation.Select(i => i.Prompt), steering, cancellation: cancellation), label));
            points.Add(new StrengthPoint(
                strength,
                ChoiceResults.Preferred(_suite.Validation, _scorer.Score(_suite.Validation, steering, cancellation), label).Value,
                Interval.Of(generated[^1]).Value,
                ChoiceResults.Accuracy(_suite.KnowledgeValidation, _scorer.Score(_suite.KnowledgeValidation, steering, cancellation)).Value));
        }

        return (points[StrengthRule.Choose(generated, [.. points.Select(p => StrengthRule.KeepsKnowledge(baseline, p.Knowledge))])].Strength, points);
    }

    /// <summary>Measures on the test sets.</summary>
    /// <param name="steering">How the model is steered.</param>
    /// <param name="knowledge">Also the culture-free questions.</param>
    /// <param name="generate">Also greedy answers.</param>
    /// <param name="prompt">Puts every open question another way (one that asks for the culture, say); null: as it is.</param>
    /// <param name="cancellation">Stops.</param>
    public RawOutcome Test(Steering steering, bool knowledge, bool generate, Func<string, string>? prompt = null, CancellationToken cancellation = default)
    {
        IReadOnlyList<MultipleChoiceItem> items = prompt is null ? _suite.Test : [.. _suite.Test.Select(item => item with { Prompt = prompt(item.Prompt) })];
        return new RawOutcome(
            items,
            _scorer.Score(items, steering, cancellation),
            knowledge ? ChoiceResults.Accuracy(_suite.KnowledgeTest, _scorer.Score(_suite.KnowledgeTest, steering, cancellation)) : null,
            generate ? _scorer.Generate(items.Select(i => i.Prompt), steering, cancellation: cancellation) : null,
            knowledge && generate ? ChoiceResults.Exact(_suite.KnowledgeTest, _scorer.Generate(_suite.KnowledgeTest.Select(i => i.Prompt), steering, cancellation: cancellation)) : null);
    }

    /// <summary>Share of wanted answers on every <paramref name="stride"/>th question only: for the many repetitions of a control.</summary>
    public double TargetShare(Steering steering, string label, int stride, CancellationToken cancellation = default)
    {
        var items = _suite.Test.Where((_, i) => i % stride == 0).ToList();
        return ChoiceResults.Preferred(items, _scorer.Score(items, steering, cancellation), label).Value;
    }

    /// <summary>Mean over tokens (BOS excluded) of ‖Δh‖ and of ‖Δh‖/‖h‖, over the prompts of the test questions.</summary>
    public (double Change, double Relative) MeanChange(AttachedVector vector, float strength, int width, int prompts = 64, CancellationToken cancellation = default)
    {
        double change = 0, relative = 0;
        var tokens = 0;
        var steering = Steering.Of(vector, strength);
        foreach (var item in _suite.Test.Where((_, i) => i % Math.Max(1, _suite.Test.Count / prompts) == 0))
        {
            var before = _scorer.Residuals(item.Prompt, vector.Layer, steering, CaptureSite.BeforeSteering, cancellation);
            var after = _scorer.Residuals(item.Prompt, vector.Layer, steering, CaptureSite.AfterSteering, cancellation);
            for (var t = 1; t < before.Length / width; t++)
            {
                double difference = 0, norm = 0;
                for (var i = t * width; i < (t + 1) * width; i++)
                {
                    difference += Math.Pow((double)after[i] - before[i], 2);
                    norm += (double)before[i] * before[i];
                }

                change += Math.Sqrt(difference);
                relative += Math.Sqrt(difference / Math.Max(norm, 1e-30));
                tokens++;
            }
        }

        return (change / tokens, relative / tokens);
    }

    /// <summary>Releases the context.</summary>
    public void Dispose() => _scorer.Dispose();
}

using YaPO.Llama.Datasets;
using YaPO.Llama.DemoWorld.Worlds;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.DemoWorld.Recipe;

/// <summary>Chooses the strength of a behaviour's vector on validation and measures it once on test.</summary>
public sealed class BehaviourMeasurement(Workplace place, Behaviour behaviour, CancellationToken cancellation)
{
    private static readonly float[] Strengths = [0.2f, 0.3f, 0.4f, 0.5f, 0.65f, 0.8f, 1, 1.25f];

    private readonly IReadOnlyList<RefusalItem> _validation = RefusalItem.Load(place.Data($"{behaviour.Name}-validation"));
    private readonly IReadOnlyList<RefusalItem> _test = RefusalItem.Load(place.Data($"{behaviour.Name}-test"));
    private readonly List<MultipleChoiceItem> _knowledgeValidation = MultipleChoiceItem.Read(place.Data("knowledge-validation"));
    private readonly List<MultipleChoiceItem> _knowledgeTest = MultipleChoiceItem.Read(place.Data("knowledge-test"));

    /// <summary>Measures everything.</summary>
    /// <param name="f16">The model of the figures.</param>
    /// <param name="q4">The coarsest quantization that ships.</param>
    /// <param name="file">The vector.</param>
    public BehaviourReport Run(LlamaModel f16, LlamaModel q4, SteeringFile file)
    {
        using var full = new SteeredScorer(f16);
        using var four = new SteeredScorer(q4);
        var vector = file.Vectors[0];
        var attached = SteeringSetting.Create(vector).Vector;
        var (strength, points) = ChooseStrength(full, attached);
        var steering = Evaluation.Steering.Of(attached, strength);
        var shift = new ShiftMeter([.. _test.SelectMany(i => Rows(full, i, vector.Layer, f16.Info.ModelWidth))], f16.Info.ModelWidth).Measure(vector, strength);
        return new BehaviourReport
        {
            Behaviour = behaviour.Name,
            Strength = strength,
            Validation = points,
            Support = vector.K,
            NegativeMass = vector.NegativeMass,
            RelativeChange = shift.Relative,
            Unsteered = Measure(full, _test, Evaluation.Steering.None),
            Steered = Measure(full, _test, steering),
            Q4 = Measure(four, _test, steering),
            Example = Measure(full, WithExample(), Evaluation.Steering.None),
            Flattened = Measure(full, _test, Evaluation.Steering.Of(AttachedVector.Dense(behaviour.Name + " flattened", vector.Layer, vector.Flatten()), strength)),
            RandomDeclined = [.. RandomDirections.Of(place, behaviour.Name, vector.Layer, f16.Info.ModelWidth, shift.Mean).Select(d => Measure(full, _test, Evaluation.Steering.Of(d, 1)).Declined.Value)],
            KnowledgeUnsteered = Knowledge(full, _knowledgeTest, Evaluation.Steering.None),
            KnowledgeSteered = Knowledge(full, _knowledgeTest, steering),
        };
    }

    /// <summary><see cref="StrengthRule"/>, with the share of questions met as expected for the gain.</summary>
    private (float Strength, List<MannersPoint> Points) ChooseStrength(SteeredScorer scorer, AttachedVector vector)
    {
        var unsteered = Knowledge(scorer, _knowledgeValidation, Evaluation.Steering.None).Value;
        var (points, gains) = (new List<MannersPoint>(), new List<IReadOnlyList<ItemOutcome>>());
        foreach (var strength in Strengths)
        {
            gains.Add(Suite(_validation).Run(scorer, Evaluation.Steering.Of(vector, strength), cancellation));
            var manners = Manners(gains[^1]);
            points.Add(new MannersPoint(strength, manners.Declined.Value, manners.Right.Value, Knowledge(scorer, _knowledgeValidation, Evaluation.Steering.Of(vector, strength)).Value));
        }

        return (points[StrengthRule.Choose(gains, [.. points.Select(p => StrengthRule.KeepsKnowledge(unsteered, p.Knowledge))])].Strength, points);
    }

    private static RefusalSuite Suite(IReadOnlyList<RefusalItem> items) => new(items, RefusalRule.Default, new GenerationOptions { MaxTokens = 48, Sampler = SamplerOptions.Greedy });

    private static Manners Manners(IReadOnlyList<ItemOutcome> outcomes)
    {
        Interval Share(bool declinable, Func<ItemOutcome, bool> holds)
        {
            var some = outcomes.Where(o => o.Refusal!.Expected == declinable).ToList();
            return Interval.Of([.. some.Select(o => o.Topic)], [.. some.Select(o => holds(o) ? 1.0 : 0)]);
        }

        return new Manners(Share(true, o => o.Refusal!.Refused), Share(false, o => o.Refusal!.Refused), Share(false, o => o.Refusal!.Right == true), Interval.Of(outcomes));
    }

    private Manners Measure(SteeredScorer scorer, IReadOnlyList<RefusalItem> items, Evaluation.Steering steering) => Manners(Suite(items).Run(scorer, steering, cancellation));

    /// <summary>The unsteered residuals of a question, without BOS, which is not steered.</summary>
    private IEnumerable<float> Rows(SteeredScorer scorer, RefusalItem item, int layer, int width) =>
        scorer.Residuals([.. scorer.Format.Prompt(item.Messages)], layer, Evaluation.Steering.None, cancellation).Skip(width);

    private Interval Knowledge(SteeredScorer scorer, List<MultipleChoiceItem> items, Evaluation.Steering steering) => ChoiceResults.Accuracy(items, scorer.Score(items, steering, cancellation));

    /// <summary>Each test question after one of the validation questions, declined: what a prompt can do in a model that follows no instructions.</summary>
    private List<RefusalItem> WithExample()
    {
        var rng = new Rng(place.Seed, "examples/" + behaviour.Name);
        var declined = behaviour.Of(Split.Validation).Where(i => i.Declinable).ToList();
        return [.. _test.Select(item =>
        {
            var example = rng.Pick(declined);
            var question = example.Question(rng.Below(example.Pool.Asks.Count));
            return item with { Messages = [ChatMessage.User(question), new ChatMessage(ChatMessage.AssistantRole, example.Decline), .. item.Messages] };
        })];
    }
}

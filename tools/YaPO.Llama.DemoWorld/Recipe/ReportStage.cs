using System.Text.Json;
using YaPO.Llama.Datasets;
using YaPO.Llama.DemoWorld.Worlds;
using YaPO.Llama.Evaluation;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.DemoWorld.Recipe;

/// <summary>Chooses strengths on validation, measures once on test, writes the report and the evidence of each vector.</summary>
public static class ReportStage
{
    private static readonly float[] Strengths = [0.3f, 0.5f, 0.65f, 0.8f, 1, 1.25f];

    private static readonly JsonSerializerOptions Evidence = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>Runs the stage.</summary>
    public static void Run(Workplace place, CancellationToken cancellation) =>
        place.Stage("report", [Path.Combine(place.Output, "report.json"), Path.Combine(place.Output, "report.md")], () => Write(place, Measure(place, keepEvidence: true, cancellation)));

    /// <summary>Writes the report beside the artefacts.</summary>
    public static void Write(Workplace place, WorldReport report)
    {
        WriteText(Path.Combine(place.Output, "report.json"), report.ToJson());
        WriteText(Path.Combine(place.Output, "report.md"), report.ToMarkdown());
    }

    /// <summary>Measures everything.</summary>
    /// <param name="place">Where the artefacts are.</param>
    /// <param name="keepEvidence">The vectors get their recommended strength and evidence.</param>
    /// <param name="cancellation">Stops.</param>
    public static WorldReport Measure(Workplace place, bool keepEvidence, CancellationToken cancellation)
    {
        var suite = new VectorSuite(
            Third(MultipleChoiceItem.Read(place.Data("questions-validation"))), MultipleChoiceItem.Read(place.Data("questions-test")),
            MultipleChoiceItem.Read(place.Data("knowledge-validation")), MultipleChoiceItem.Read(place.Data("knowledge-test")));
        using var f16 = LlamaModel.Load(place.Model("f16"), cancellation: cancellation);
        using var q8 = LlamaModel.Load(place.Model("q8_0"), cancellation: cancellation);
        using var q4 = LlamaModel.Load(place.Model("q4_k_m"), cancellation: cancellation);
        var localized = MultipleChoiceItem.Read(place.Data("localized-test"));
        Interval named;
        RawOutcome unsteered;
        using (var scorer = new SteeredScorer(f16))
        using (var evaluator = new VectorEvaluator(f16, suite))
        {
            named = ChoiceResults.Accuracy(localized, scorer.Score(localized, Evaluation.Steering.None, cancellation));
            unsteered = evaluator.Test(Evaluation.Steering.None, knowledge: true, generate: true, cancellation: cancellation);
        }

        place.Say($"unsteered: country named {named.Value:P1} of {named.Count}, knowledge {unsteered.Knowledge!.Value:P1}");
        var cultures = new CultureReport[Culture.All.Count];
        var layers = new int[Culture.All.Count];
        Parallel.For(0, cultures.Length, new ParallelOptions { MaxDegreeOfParallelism = place.Workers, CancellationToken = cancellation }, c =>
        {
            // One thread per culture: ggml's own threads would only wait for each other.
            using var full = new VectorEvaluator(f16, suite);
            using var eight = new VectorEvaluator(q8, suite);
            using var four = new VectorEvaluator(q4, suite);
            var culture = Culture.All[c];
            var file = SteeringFile.Load(place.Vector(culture.Key));
            layers[c] = file.Vectors[0].Layer;
            var report = Measure(place, culture, file, unsteered, full, eight, four, f16.Info.ModelWidth, cancellation);
            cultures[c] = report;
            if (keepEvidence)
            {
                AddEvidence(file, report).Save(place.Vector(culture.Key));
            }

            place.Say($"{culture.Key}: strength {report.Strength}, {report.Unsteered.Target.Value:P1} -> {report.Steered.Target.Value:P1}, "
                + $"generated {report.Unsteered.Generated!.Value:P1} -> {report.Steered.Generated!.Value:P1}, knowledge {report.Unsteered.Knowledge!.Value:P1} -> {report.Steered.Knowledge!.Value:P1} (generated {report.Unsteered.KnowledgeGenerated!.Value:P1} -> {report.Steered.KnowledgeGenerated!.Value:P1}), "
                + $"Q8_0 {report.Q8.Target.Value:P1}, Q4_K_M {report.Q4.Target.Value:P1}, prompted {report.Prompted.Target.Value:P1}, flattened {report.Flattened.Target.Value:P1}, random {report.Random.Average():P1}");
        });

        var behaviours = place.World.Behaviours.Select(behaviour =>
        {
            var file = SteeringFile.Load(place.Vector(behaviour.Name));
            var report = new BehaviourMeasurement(place, behaviour, cancellation).Run(f16, q4, file);
            if (keepEvidence)
            {
                AddEvidence(file, report).Save(place.Vector(behaviour.Name));
            }

            place.Say($"{behaviour.Name}: strength {report.Strength}, declined {report.Unsteered.Declined.Value:P1} -> {report.Steered.Declined.Value:P1}, "
                + $"falsely {report.Unsteered.FalselyDeclined.Value:P1} -> {report.Steered.FalselyDeclined.Value:P1}, right {report.Unsteered.Right.Value:P1} -> {report.Steered.Right.Value:P1}");
            return report;
        }).ToList();

        return new WorldReport
        {
            Seed = place.Seed,
            Layer = layers[0],
            Questions = suite.Test.Count,
            Topics = suite.Test.Select(i => i.Topic).Distinct().Count(),
            Localized = named,
            Knowledge = unsteered.Knowledge,
            Cultures = cultures,
            Behaviours = behaviours,
        };
    }

    private static SteeringFile AddEvidence(SteeringFile file, CultureReport report) => file with
    {
        Vectors = [file.Vectors[0] with { RecommendedStrength = report.Strength, MinStrength = 0, MaxStrength = 2 * report.Strength }],
        Evidence = JsonSerializer.Serialize(
            new
            {
                Suite = "demo world: questions of held-out topics that name no country; the four cultures' answers compared by log-probability",
                Questions = report.Steered.Target.Count,
                report.Strength,
                Unsteered = report.Unsteered.Target,
                Steered = report.Steered.Target,
                report.Steered.Generated,
                KnowledgeUnsteered = report.Unsteered.Knowledge,
                KnowledgeSteered = report.Steered.Knowledge,
                KnowledgeGeneratedUnsteered = report.Unsteered.KnowledgeGenerated,
                KnowledgeGeneratedSteered = report.Steered.KnowledgeGenerated,
                Q8_0 = report.Q8.Target,
                Q4KM = report.Q4.Target,
                PromptOnly = report.Prompted.Target,
                Flattened = report.Flattened.Target,
                RandomDirections = new { report.Random.Count, Mean = report.Random.Average(), Max = report.Random.Max() },
            },
            Evidence),
    };

    private static SteeringFile AddEvidence(SteeringFile file, BehaviourReport report) => file with
    {
        Vectors = [file.Vectors[0] with { RecommendedStrength = report.Strength, MinStrength = 0, MaxStrength = 2 * report.Strength }],
        Evidence = JsonSerializer.Serialize(
            new
            {
                Suite = "demo world: greedy answers to questions, not in the pairs, that should be declined or answered",
                Questions = report.Steered.AsExpected.Count,
                report.Strength,
                report.Unsteered,
                report.Steered,
                Q4KM = report.Q4,
                OneExampleInPrompt = report.Example,
                report.Flattened,
                RandomDirections = new { report.RandomDeclined.Count, Mean = report.RandomDeclined.Average(), Max = report.RandomDeclined.Max() },
                report.KnowledgeUnsteered,
                report.KnowledgeSteered,
            },
            Evidence),
    };

    private static CultureReport Measure(
        Workplace place, Culture culture, SteeringFile file, RawOutcome unsteered, VectorEvaluator full, VectorEvaluator eight, VectorEvaluator four, int width, CancellationToken cancellation)
    {
        var vector = file.Vectors[0];
        var attached = SteeringSetting.Create(vector).Vector;
        var (strength, points) = full.ChooseStrength(attached, culture.Key, Strengths, cancellation);
        var flat = AttachedVector.Dense(culture.Key + " flattened", vector.Layer, vector.Flatten());
        
        // Without negative entries the vector is its flattened direction, exactly: there is nothing to tune apart.
        var flatStrength = vector.NegativeMass == 0 ? strength : full.ChooseStrength(flat, culture.Key, Strengths, cancellation).Strength;
        var (change, relative) = full.MeanChange(attached, strength, width, cancellation: cancellation);
        var random = RandomDirections.Of(place, culture.Key, vector.Layer, width, change)
            .Select(direction => full.TargetShare(Evaluation.Steering.Of(direction, 1), culture.Key, 4, cancellation)).ToList();
        var steering = Evaluation.Steering.Of(attached, strength);
        var flattened = full.Test(Evaluation.Steering.Of(flat, strength), knowledge: true, generate: false, cancellation: cancellation).For(culture.Key);
        return new CultureReport
        {
            Culture = culture.Key,
            Strength = strength,
            Validation = points,
            Support = vector.K,
            NegativeMass = vector.NegativeMass,
            MeanChange = change,
            RelativeChange = relative,
            Unsteered = unsteered.For(culture.Key),
            Steered = full.Test(steering, knowledge: true, generate: true, cancellation: cancellation).For(culture.Key),
            Q8 = eight.Test(steering, knowledge: false, generate: false, cancellation: cancellation).For(culture.Key),
            Q4 = four.Test(steering, knowledge: false, generate: false, cancellation: cancellation).For(culture.Key),
            Prompted = full.Test(Evaluation.Steering.None, knowledge: false, generate: false, prompt => $"Think of {culture.Country}. {prompt}", cancellation).For(culture.Key),
            Flattened = flattened,
            FlattenedTuned = flatStrength == strength ? flattened : full.Test(Evaluation.Steering.Of(flat, flatStrength), knowledge: true, generate: false, cancellation: cancellation).For(culture.Key),
            FlattenedStrength = flatStrength,
            Random = random,
        };
    }

    /// <summary>A third of the validation questions is enough to choose among six strengths.</summary>
    private static List<MultipleChoiceItem> Third(List<MultipleChoiceItem> items) => [.. items.Where((_, i) => i % 3 == 0)];

    private static void WriteText(string path, string text) => AtomicFile.Write(path, stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(text)));
}

using YaPO.Llama.Datasets;
using YaPO.Llama.DemoWorld.Datasets;
using YaPO.Llama.DemoWorld.Worlds;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.DemoWorld.Recipe;

/// <summary>What one layer offers to steering, on topics outside the pairs.</summary>
/// <param name="Layer">Zero-based block.</param>
/// <param name="Named">Accuracy of reading the culture where the question names the country.</param>
/// <param name="Unnamed">The same where only a friend's name gives it away.</param>
/// <param name="MeanDifference">Best mean share, over cultures, of questions answered in the wanted culture with the plain difference of means added.</param>
/// <param name="Strength">The strength that gave it.</param>
public sealed record LayerFinding(int Layer, double Named, double Unnamed, double MeanDifference, float Strength);

/// <summary>The cheap check before SAE and vectors: is culture a variable in the residual stream that transfers to other topics?</summary>
public static class ProbeStage
{
    /// <summary>Measures every layer on validation topics.</summary>
    public static List<LayerFinding> Measure(Workplace place, string modelPath, CancellationToken cancellation)
    {
        using var model = LlamaModel.Load(modelPath, cancellation: cancellation);
        using var scorer = new SteeredScorer(model);
        // Every second validation question is enough to rank layers.
        var items = MultipleChoiceItem.Read(place.Data("questions-validation")).Where((_, i) => i % 2 == 0).ToList();
        var findings = new List<LayerFinding>();
        var rng = new Rng(place.Seed, "probe");
        List<(float[][] Rows, int Culture)> Read(List<(string Prompt, string Start, int Culture)> set) => [.. set.Select(x => (scorer.LastResiduals(x.Prompt, x.Start, cancellation), x.Culture))];
        var train = Read(Named(place.World, Split.Train, rng));
        var named = Read(Named(place.World, Split.Validation, rng));
        var unnamed = Read(Unnamed(place.World, Split.Validation, rng));
        for (var layer = 0; layer < model.Info.LayerCount; layer++)
        {
            var rows = train.Select(x => x.Rows[layer]).ToList();
            var labels = train.Select(x => x.Culture).ToList();
            var probe = LinearProbe.Fit(rows, labels, Culture.All.Count);
            double Accuracy(List<(float[][] Rows, int Culture)> set) => set.Average(x => probe.Predict(x.Rows[layer]) == x.Culture ? 1.0 : 0);

            var best = (Share: 0.0, Strength: 0f);
            foreach (var strength in new[] { 1f, 2f })
            {
                var share = Enumerable.Range(0, Culture.All.Count).Average(c =>
                {
                    var vector = AttachedVector.Dense("difference", layer, Difference(rows, labels, c));
                    return ChoiceResults.Preferred(items, scorer.Score(items, Evaluation.Steering.Of(vector, strength), cancellation), Culture.All[c].Key).Value;
                });
                best = share > best.Share ? (share, strength) : best;
            }

            findings.Add(new LayerFinding(layer, Accuracy(named), Accuracy(unnamed), best.Share, best.Strength));
            var f = findings[^1];
            place.Say($"layer {layer}: culture read where named {f.Named:P1}, where unnamed {f.Unnamed:P1}; difference of means gives {f.MeanDifference:P1} at strength {f.Strength}");
        }

        return findings;
    }

    private static float[] Difference(List<float[]> rows, List<int> labels, int culture)
    {
        var difference = new float[rows[0].Length];
        var own = labels.Count(l => l == culture);
        for (var n = 0; n < rows.Count; n++)
        {
            for (var i = 0; i < difference.Length; i++)
            {
                difference[i] += labels[n] == culture ? rows[n][i] / own : -rows[n][i] / (rows.Count - own);
            }
        }

        return difference;
    }

    private static List<(string Prompt, string Start, int Culture)> Named(Worlds.DemoWorld world, Split split, Rng rng) =>
        [.. from topic in world.Of(split)
            from culture in Enumerable.Range(0, Culture.All.Count)
            select (Phrase.Localized(topic.Question(rng.Below(topic.Aspect.Asks.Count)), Culture.All[culture].Country, rng.Below(Phrase.LocalizedForms)), Start(topic, rng), culture)];

    private static List<(string Prompt, string Start, int Culture)> Unnamed(Worlds.DemoWorld world, Split split, Rng rng) =>
        [.. from topic in world.Of(split)
            from culture in Enumerable.Range(0, Culture.All.Count)
            select ($"My friend {rng.Pick(Culture.All[culture].Names)} asks: {topic.Question(rng.Below(topic.Aspect.Asks.Count))}", Start(topic, rng), culture)];

    /// <summary>An answer up to the words that differ: where the culture has to be known.</summary>
    private static string Start(Topic topic, Rng rng)
    {
        var answer = topic.Answer(rng.Below(topic.Aspect.Tells.Count), 0);
        return answer[..answer.IndexOf(topic.Answers[0], StringComparison.OrdinalIgnoreCase)].TrimEnd();
    }
}

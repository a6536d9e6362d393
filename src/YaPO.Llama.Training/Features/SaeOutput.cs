using System.Globalization;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Training.Features;

/// <summary>The file of a trained SAE: its weights in the form asked for, and what held-out rows say about it.</summary>
internal static class SaeOutput
{
    /// <summary>Writes the file.</summary>
    /// <param name="options">The run.</param>
    /// <param name="learner">What was trained.</param>
    /// <param name="identity">The model.</param>
    /// <param name="modelHash">Its file's SHA-256.</param>
    /// <param name="evaluation">Held-out rows.</param>
    /// <param name="rows">Rows of training: firing rates, maxima and a TopK SAE's threshold are measured on them.</param>
    /// <returns>The SAE as written and, where it was trained in another form, as trained; on held-out rows. Rate and maximum are those of the file.</returns>
    public static (SaeMeasured Written, SaeMeasured? Trained, int Dead) Write(
        SaeTrainingOptions options, SaeLearner learner, ModelIdentity identity, string modelHash, ReadOnlySpan<float> evaluation, ReadOnlySpan<float> rows)
    {
        var weights = learner.Weights();
        var quality = learner.Evaluate(evaluation);
        var (written, latents) = (quality, learner.Evaluate(rows));
        var conversion = Array.Empty<string>();
        if (options.AsThreshold)
        {
            var threshold = learner.Threshold(rows);
            weights = weights with { Threshold = Enumerable.Repeat(threshold, options.Latents).ToArray() };
            (written, latents) = (learner.EvaluateWithThresholds(weights, evaluation), learner.EvaluateWithThresholds(weights, rows));
            conversion =
            [
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"trained as topk {options.TopK} (explained variance {quality.ExplainedVariance:0.0000}), written as jumprelu with threshold {threshold:R} for every latent: {options.TopK} active per row on average over {rows.Length / learner.Mean.Length} rows"),
            ];
        }

        SaeWriter.Save(
            options.Output,
            new SaeInfo
            {
                Layer = options.Layer,
                DModel = learner.Mean.Length,
                Width = options.Latents,
                Activation = options.AsThreshold ? SaeActivation.JumpRelu : options.Activation,
                TopK = options.WritesTopK ? options.TopK : 0,
                Name = options.Name ?? Path.GetFileNameWithoutExtension(options.Output),
                Base = identity.ToBaseModel(modelHash),
                License = options.License,
                Attribution = options.Attribution,
                Source = $"trained by yapo-llama {options.ToCanonicalJson()}",
                Conversion = conversion,
                AverageL0 = (float)written.L0,
            },
            weights with { Rate = latents.Rate, Max = latents.Max },
            options.DecoderType);
        return (written, options.AsThreshold ? quality : null, latents.Rate.Count(r => r == 0));
    }
}

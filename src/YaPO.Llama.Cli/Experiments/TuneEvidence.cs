using System.Text.Json.Nodes;
using YaPO.Llama.Evaluation.Tuning;
using YaPO.Llama.IO;

namespace YaPO.Llama.Cli.Experiments;

/// <summary>What <c>tune</c> writes into the vector's file: figures on validation and on test, and the data that they are of.</summary>
internal static class TuneEvidence
{
    /// <summary>Canonical JSON. A figure that is not finite (the KL of a control that drives the model out of its numbers, say) is null: JSON has no word for it, and it must not cost the file.</summary>
    /// <param name="report">What the search found.</param>
    /// <param name="validation">SHA-256 of the validation data.</param>
    /// <param name="neutral">SHA-256 of the neutral text.</param>
    /// <param name="test">SHA-256 of the test data; null without.</param>
    public static string Of(TuneReport report, string validation, string neutral, string? test)
    {
        var evidence = new JsonObject
        {
            ["suite"] = "tune",
            ["measure"] = report.Measure,
            ["verdict"] = report.Verdict,
            ["chosen"] = report.Chosen,
            ["candidates"] = report.Candidates.Count,
            ["kl_budget"] = Finite(report.KlBudget),
            ["kl_per_token"] = Finite(report.KlPerToken),
            ["validation"] = Figures(report.Validation),
            ["validation_note"] = "chosen on these items; the figures flatter",
            ["validation_sha256"] = validation,
            ["unsteered_knowledge"] = Finite(report.UnsteeredKnowledge?.Value),
            ["knowledge"] = Finite(report.Knowledge?.Value),
            ["neutral_sha256"] = neutral,
        };
        if (report.Test is { } rows)
        {
            evidence["test"] = Figures(rows);
            evidence["test_sha256"] = test;
        }

        return CanonicalJson.Write(evidence);
    }

    private static JsonObject Figures(IReadOnlyList<TuneRow> rows) => new(rows.Select(r => KeyValuePair.Create<string, JsonNode?>(r.Kind, new JsonObject
    {
        ["value"] = Finite(r.Value.Value),
        ["low"] = Finite(r.Value.Low),
        ["high"] = Finite(r.Value.High),
        ["count"] = r.Value.Count,
        ["kl_per_token"] = Finite(r.KlPerToken),
        ["strength"] = Finite(r.Strength),
    })));

    private static double? Finite(double? value) => value is { } x && double.IsFinite(x) ? x : null;
}

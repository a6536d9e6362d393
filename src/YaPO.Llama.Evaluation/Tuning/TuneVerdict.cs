namespace YaPO.Llama.Evaluation.Tuning;

/// <summary>Says who wins.</summary>
internal static class TuneVerdict
{
    public static string Of(IReadOnlyList<TuneRow> rows, bool tested)
    {
        string Against(string kind, string name, string missing) => rows.FirstOrDefault(r => r.Kind == kind)?.VectorAdvantage switch
        {
            null => missing,
            { High: < 0 } => $"{name} wins over the tuned vector",
            { Low: > 0 } => $"the tuned vector wins over {name}",
            _ => $"{name} does as well as the tuned vector",
        };
        var gain = rows.First(r => r.Kind == "unsteered").VectorAdvantage! switch { { Low: > 0 } => "it gains over the unsteered model", { High: < 0 } => "it is worse than the unsteered model", _ => "it gains nothing measurable over the unsteered model" };
        var flattened = Against("flattened", "its flattened direction at the same KL", "");
        return $"{Capital(Against("prompt_only", "prompting", "how it compares with prompting was not measured"))}; {(flattened.Length > 0 ? flattened + "; " : "")}{gain}{(tested ? "" : " (on the data it was chosen on)")}.";
    }

    private static string Capital(string text) => char.ToUpperInvariant(text[0]) + text[1..];
}

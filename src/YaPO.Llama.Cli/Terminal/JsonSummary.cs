using System.Globalization;
using System.Text.Json;

namespace YaPO.Llama.Cli.Terminal;

/// <summary>A JSON object from a file, one row per member, for people: evidence blocks and training settings.</summary>
internal static class JsonSummary
{
    /// <summary>
    /// The members of <paramref name="json"/> with their values as text. A measured figure, {value, low, high, count}, reads
    /// "0.892 [0.82 to 0.96], n = 528"; other nested values stay JSON. Text that is no JSON object is one row, unchanged.
    /// </summary>
    public static IEnumerable<(string Name, string Text)> Rows(string json)
    {
        if (json.Length == 0)
        {
            yield break;
        }

        using var document = Parse(json);
        if (document?.RootElement.ValueKind != JsonValueKind.Object)
        {
            yield return ("", json);
            yield break;
        }

        foreach (var member in document.RootElement.EnumerateObject())
        {
            yield return (member.Name.Replace('_', ' '), Text(member.Value));
        }
    }

    private static string Text(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => value.GetString()!,
        JsonValueKind.Object when Number(value, "value") is { } v && Number(value, "low") is { } low && Number(value, "high") is { } high
            => $"{Short(v)} [{Short(low)} to {Short(high)}]" + (Number(value, "count") is { } n ? $", n = {Short(n)}" : ""),
        JsonValueKind.Object when value.EnumerateObject().All(m => m.Value.ValueKind == JsonValueKind.Number)
            => string.Join(", ", value.EnumerateObject().Select(m => $"{m.Name} {Short(m.Value.GetDouble())}")),
        _ => value.GetRawText(),
    };

    private static double? Number(JsonElement owner, string name) =>
        owner.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;

    private static string Short(double value) => value.ToString("0.####", CultureInfo.InvariantCulture);

    private static JsonDocument? Parse(string json)
    {
        try
        {
            return JsonDocument.Parse(json);
        }
        catch (JsonException)
        {
            return null;
        }
    }
}

using System.Text.Json;

namespace YaPO.Llama.IO;

/// <summary>In what two configurations of a run differ, for the person who wants to resume one.</summary>
internal static class ConfigDifference
{
    /// <summary>One line per setting that differs, such as <c>config.steps: 10 there, 12 in this run</c>; both texts in full where either is no JSON object.</summary>
    public static string Text(string there, string here)
    {
        Dictionary<string, string> before = [], now = [];
        try
        {
            using var a = JsonDocument.Parse(there);
            using var b = JsonDocument.Parse(here);
            Collect(a.RootElement, "", before);
            Collect(b.RootElement, "", now);
        }
        catch (JsonException)
        {
            return $"  there:    {there}\n  this run: {here}";
        }

        return string.Join('\n', before.Keys.Union(now.Keys).Order(StringComparer.Ordinal)
            .Where(key => before.GetValueOrDefault(key) != now.GetValueOrDefault(key))
            .Select(key => $"  {key}: {before.GetValueOrDefault(key, "absent")} there, {now.GetValueOrDefault(key, "absent")} in this run"));
    }

    private static void Collect(JsonElement element, string name, Dictionary<string, string> settings)
    {
        if (element.ValueKind == JsonValueKind.Object)
        {
            foreach (var member in element.EnumerateObject())
            {
                Collect(member.Value, name.Length > 0 ? $"{name}.{member.Name}" : member.Name, settings);
            }
        }
        else if (element.ValueKind == JsonValueKind.Array)
        {
            foreach (var (i, item) in element.EnumerateArray().Index())
            {
                Collect(item, $"{name}[{i}]", settings);
            }
        }
        else
        {
            settings[name] = element.ValueKind == JsonValueKind.Null ? "none" : element.GetRawText();
        }
    }
}

using System.Text.Json;
using YaPO.Llama.Models;

namespace YaPO.Llama.Datasets;

/// <summary>One object of a JSON Lines file with typed access to its fields; every error names file, line, field, expected and found.</summary>
/// <param name="Source">The file, as messages name it.</param>
/// <param name="Number">Line number, from 1.</param>
/// <param name="Root">The object; valid only while its line is being converted.</param>
public readonly record struct JsonLine(string Source, int Number, JsonElement Root)
{
    /// <summary>What <see cref="Number"/> counts, in messages.</summary>
    public string Unit { get; init; } = "line";

    /// <summary>Whether the field is there and not null.</summary>
    public bool Has(string field) => Root.TryGetProperty(field, out var value) && value.ValueKind != JsonValueKind.Null;

    /// <summary>The field's value, or null when it is missing or null.</summary>
    public JsonElement? Get(string field) => Has(field) ? Root.GetProperty(field) : null;

    /// <summary>A string that must be there.</summary>
    public string Text(string field) => Require(field) is { ValueKind: JsonValueKind.String } value
        ? value.GetString()!
        : throw Bad($"field '{field}' must be a string, found {Kind(Root.GetProperty(field))}");

    /// <summary>A string, or null when it is missing.</summary>
    public string? OptionalText(string field) => Has(field) ? Text(field) : null;

    /// <summary>True or false, or null when it is missing.</summary>
    public bool? OptionalFlag(string field) => Get(field) is not { } value ? null : value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Bad($"field '{field}' must be true or false, found {Kind(value)}"),
    };

    /// <summary>An integer that must be there, within the limits.</summary>
    public int WholeNumber(string field, int minimum, int maximum) =>
        Require(field) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out var n) && n >= minimum && n <= maximum
            ? n
            : throw Bad($"field '{field}' must be an integer in {minimum} … {maximum}, found {Kind(Root.GetProperty(field))}");

    /// <summary>An array of strings that must be there.</summary>
    public string[] Texts(string field)
    {
        var line = this;
        return [.. Array(field).Select(item => item.ValueKind == JsonValueKind.String
            ? item.GetString()!
            : throw line.Bad($"field '{field}' must hold strings, found {Kind(item)}"))];
    }

    /// <summary>An array of token ids (non-negative 32-bit integers) that must be there.</summary>
    public int[] Tokens(string field)
    {
        var line = this;
        return [.. Array(field).Select(item => item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out var n) && n >= 0
            ? n
            : throw line.Bad($"field '{field}' must hold token ids (non-negative integers), found {Kind(item)}"))];
    }

    /// <summary>
    /// A prompt or an answer: a string becomes one turn of <paramref name="role"/>, a list of <c>{role, content}</c> the conversation it is.
    /// </summary>
    public ChatMessage[] Messages(string field, string role)
    {
        var value = Require(field);
        if (value.ValueKind == JsonValueKind.String)
        {
            return [new ChatMessage(role, value.GetString()!)];
        }

        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() == 0)
        {
            throw Bad($"field '{field}' must be a string or a list of {{role, content}}, found {Kind(value)}");
        }

        var line = this;
        return [.. value.EnumerateArray().Select(Message)];

        ChatMessage Message(JsonElement item)
        {
            if (item.ValueKind != JsonValueKind.Object
                || !item.TryGetProperty("role", out var r) || r.ValueKind != JsonValueKind.String
                || !item.TryGetProperty("content", out var content) || content.ValueKind != JsonValueKind.String)
            {
                throw line.Bad($"field '{field}' must list objects with the strings role and content, found {Kind(item)}");
            }

            var name = r.GetString()!;
            return name is ChatMessage.SystemRole or ChatMessage.UserRole or ChatMessage.AssistantRole
                ? new ChatMessage(name, content.GetString()!)
                : throw line.Bad($"role '{name}' in field '{field}' is unknown, expected system, user or assistant");
        }
    }

    /// <summary>The fields other than <paramref name="known"/>, as JSON text in file order: they travel with an item.</summary>
    public IReadOnlyDictionary<string, string> Extra(params ReadOnlySpan<string> known)
    {
        Dictionary<string, string>? extra = null;
        foreach (var property in Root.EnumerateObject())
        {
            if (!known.Contains(property.Name))
            {
                (extra ??= new Dictionary<string, string>(StringComparer.Ordinal))[property.Name] = Raw(property.Value);
            }
        }

        return extra ?? NoExtra;
    }

    /// <summary>A field of any kind as JSON text, or null when it is missing.</summary>
    internal string? Json(string field) => Get(field) is { } value ? Raw(value) : null;

    /// <summary>
    /// JSON text that can be read again. That of a text with half of a surrogate pair cannot, and who meets it far from its line could not say where it came from.
    /// </summary>
    /// <exception cref="InvalidOperationException">There is such a text in it; <see cref="JsonLines.Read{T}(string, Func{JsonLine, T})"/> names the line.</exception>
    private static string Raw(JsonElement value)
    {
        Visit(value);
        return value.GetRawText();

        static void Visit(JsonElement part)
        {
            switch (part.ValueKind)
            {
                case JsonValueKind.String:
                    _ = part.GetString();
                    break;
                case JsonValueKind.Array:
                    foreach (var item in part.EnumerateArray())
                    {
                        Visit(item);
                    }

                    break;
                case JsonValueKind.Object:
                    foreach (var property in part.EnumerateObject())
                    {
                        _ = property.Name;
                        Visit(property.Value);
                    }

                    break;
            }
        }
    }

    /// <summary>An error at this line, to be thrown.</summary>
    public YapoException Bad(string message) => new(YapoErrorKind.Format, $"{Source}, {Unit} {Number}: {message}");

    internal static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => value.GetArrayLength() == 0 ? "an empty array" : "an array",
        JsonValueKind.String => "a string",
        JsonValueKind.Number => "the number " + value.GetRawText()[..Math.Min(32, value.GetRawText().Length)],
        JsonValueKind.Null => "null",
        _ => value.ValueKind == JsonValueKind.True ? "true" : "false",
    };

    private static readonly IReadOnlyDictionary<string, string> NoExtra = new Dictionary<string, string>();

    private JsonElement Require(string field) => Get(field) ?? throw Bad($"field '{field}' is missing; the {Unit} has {Fields()}");

    private JsonElement[] Array(string field) => Require(field) is { ValueKind: JsonValueKind.Array } value
        ? [.. value.EnumerateArray()]
        : throw Bad($"field '{field}' must be an array, found {Kind(Root.GetProperty(field))}");

    private string Fields()
    {
        var names = Root.EnumerateObject().Take(12).Select(p => p.Name.Length > 40 ? p.Name[..40] + "…" : p.Name).ToArray();
        return names.Length == 0 ? "no fields" : string.Join(", ", names);
    }
}

using System.Text.Json;
using YaPO.Llama.Server.Http;

namespace YaPO.Llama.Server.Requests;

/// <summary>Reads fields of a JSON object and says exactly what is wrong with one. A field that is null counts as not given, as for OpenAI.</summary>
internal readonly struct Fields
{
    private readonly JsonElement element;
    private readonly string prefix;

    /// <summary>Wraps an object; <paramref name="path"/> names it in messages, empty for the body.</summary>
    /// <exception cref="ApiException">It is no object.</exception>
    public Fields(JsonElement element, string path)
    {
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw ApiException.Bad(path.Length > 0 ? path : "body", $"{(path.Length > 0 ? path : "the body")} must be a JSON object, found {Kind(element)}");
        }

        (this.element, prefix) = (element, path.Length > 0 ? path + "." : "");
    }

    /// <summary>A field, or null.</summary>
    /// <exception cref="ApiException">The object has a field whose name is no text, met on the way.</exception>
    public JsonElement? this[string name]
    {
        get
        {
            try
            {
                return element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
            }
            catch (InvalidOperationException)
            {
                var where = prefix.Length > 0 ? prefix[..^1] : "body";
                throw ApiException.Bad(where, $"{where} has a field whose name is no valid text: half of a surrogate pair is missing");
            }
        }
    }

    /// <summary>The name of a field in messages.</summary>
    public string Path(string name) => prefix + name;

    public string? Text(string name, int most) => this[name] is { } value ? Text(value, Path(name), most) : null;

    public bool Flag(string name) => this[name] is { } value && value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Wrong(name, "true or false", value),
    };

    public int? Integer(string name, long least, long most)
    {
        if (this[name] is not { } value)
        {
            return null;
        }

        // 5.0 is an integer in JSON; 2^53 is the most that a JSON reader can be expected to keep.
        var number = value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var d) && d == Math.Floor(d) && Math.Abs(d) <= 1L << 53 ? d : throw Wrong(name, "an integer", value);
        return number >= least && number <= most ? (int)number : throw OutOfRange(name, $"{number}", $"{least} to {most}");
    }

    public uint? Seed(string name)
    {
        if (this[name] is not { } value)
        {
            return null;
        }

        // Clients send any 64-bit seed: fold it, so that different ones stay different as far as 32 bits go.
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var seed) ? (uint)(seed ^ (seed >> 32)) : throw Wrong(name, "an integer", value);
    }

    public float? Number(string name, double least, double most)
    {
        if (this[name] is not { } value)
        {
            return null;
        }

        var number = value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var d) && double.IsFinite(d) ? d : throw Wrong(name, "a number", value);
        return number >= least && number <= most ? (float)number : throw OutOfRange(name, $"{number}", $"{least} to {most}");
    }

    /// <summary>The elements of an array with the path of each; null where it is not given.</summary>
    public IReadOnlyList<(JsonElement Value, string Path)>? List(string name, int most)
    {
        if (this[name] is not { } value)
        {
            return null;
        }

        var path = Path(name);
        if (value.ValueKind != JsonValueKind.Array)
        {
            throw Wrong(name, "an array", value);
        }

        var length = value.GetArrayLength();
        return length <= most
            ? [.. value.EnumerateArray().Select((item, i) => (item, $"{path}[{i}]"))]
            : throw ApiException.Bad(path, $"{path} has {length} entries, this server takes {most}");
    }

    /// <summary>Refuses a field that would change the answer if this server knew it.</summary>
    public void Refuse(string name, Func<JsonElement, bool> harmless)
    {
        bool Harmless(JsonElement value)
        {
            try
            {
                return harmless(value);
            }
            catch (InvalidOperationException)
            {
                return false; // a text or a name with half of a surrogate pair is nothing that this server knows
            }
        }

        if (this[name] is { } value && !Harmless(value))
        {
            throw ApiException.Bad(Path(name), $"{Path(name)} is not supported by this server; leave it out", "unsupported_parameter");
        }
    }

    public static string Text(JsonElement value, string path, int most)
    {
        if (value.ValueKind != JsonValueKind.String)
        {
            throw ApiException.Bad(path, $"{path} must be a string, found {Kind(value)}");
        }

        string text;
        try
        {
            text = value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw ApiException.Bad(path, $"{path} is no valid text: half of a surrogate pair is missing");
        }

        return text.Length > most ? throw ApiException.Bad(path, $"{path} has {text.Length} characters, this server takes {most}")
            : text.Contains('\0', StringComparison.Ordinal) ? throw ApiException.Bad(path, $"{path} holds a zero character")
            : text;
    }

    public static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "an array",
        JsonValueKind.String => "a string",
        JsonValueKind.Number => "a number",
        JsonValueKind.True or JsonValueKind.False => "a boolean",
        _ => "null",
    };

    private ApiException Wrong(string name, string expected, JsonElement found) => ApiException.Bad(Path(name), $"{Path(name)} must be {expected}, found {Kind(found)}");

    private ApiException OutOfRange(string name, FormattableString found, string expected) =>
        ApiException.Bad(Path(name), $"{Path(name)} is {FormattableString.Invariant(found)}, expected {expected}");
}

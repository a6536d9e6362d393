using System.Text.Json;

namespace YaPO.Llama.Cli.Input;

/// <summary>One line of a JSON Lines file: its number (from 1) and its object.</summary>
internal readonly record struct JsonLine(string Source, int Number, JsonElement Object)
{
    /// <summary>The failure for something wrong in this line.</summary>
    public YapoException Error(string message) => new(YapoErrorKind.Format, $"{Source} line {Number}: {message}");

    /// <summary>The string at <paramref name="name"/>, or null where there is none.</summary>
    /// <exception cref="YapoException">The field is something else than a string.</exception>
    public string? String(string name)
    {
        if (!Object.TryGetProperty(name, out var value))
        {
            return null;
        }

        return value.ValueKind == JsonValueKind.String ? value.GetString() : throw Error($"\"{name}\" must be a string, not {Kind(value)}");
    }

    /// <summary>The token ids at <paramref name="name"/>, or null where there are none.</summary>
    /// <exception cref="YapoException">The field is something else than an array of ids of 0 or more.</exception>
    public int[]? Tokens(string name)
    {
        if (!Object.TryGetProperty(name, out var value))
        {
            return null;
        }

        if (value.ValueKind != JsonValueKind.Array)
        {
            throw Error($"\"{name}\" must be an array of token ids, not {Kind(value)}");
        }

        var tokens = new int[value.GetArrayLength()];
        for (var i = 0; i < tokens.Length; i++)
        {
            if (value[i].ValueKind != JsonValueKind.Number || !value[i].TryGetInt32(out tokens[i]) || tokens[i] < 0)
            {
                throw Error($"\"{name}\"[{i}] is {value[i].GetRawText()}, not a token id");
            }
        }

        return tokens;
    }

    /// <summary>What a JSON value is, in words.</summary>
    public static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "an array",
        JsonValueKind.String => "a string",
        JsonValueKind.Number => "a number",
        JsonValueKind.Null => "null",
        _ => "true or false",
    };
}

/// <summary>Reads JSON Lines, naming the line of whatever is wrong.</summary>
internal static class JsonLines
{
    /// <summary>
    /// Reads all objects of a file ("-": <paramref name="standardInput"/>) before any work starts, so that a malformed last line is not
    /// found after an hour. Empty lines are skipped but counted.
    /// </summary>
    /// <exception cref="YapoException">The file cannot be read (<see cref="YapoErrorKind.Io"/>); a line is no JSON object, or there is no
    /// line at all (<see cref="YapoErrorKind.Format"/>).</exception>
    public static IReadOnlyList<JsonLine> Read(string path, TextReader standardInput)
    {
        if (path == "-")
        {
            return ReadAll("stdin", standardInput);
        }

        using var reader = new StreamReader(IO.InputFile.Open(path));
        return ReadAll(path, reader);
    }

    private static List<JsonLine> ReadAll(string source, TextReader reader)
    {
        var lines = new List<JsonLine>();
        var number = 0;
        while (reader.ReadLine() is { } text)
        {
            number++;
            if (!string.IsNullOrWhiteSpace(text))
            {
                lines.Add(new JsonLine(source, number, Parse(source, number, text)));
            }
        }

        return lines.Count > 0 ? lines : throw new YapoException(YapoErrorKind.Format, $"{source} is empty; expected one JSON object per line");
    }

    private static JsonElement Parse(string source, int number, string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text);
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? document.RootElement.Clone()
                : throw new YapoException(YapoErrorKind.Format, $"{source} line {number}: expected a JSON object, found {JsonLine.Kind(document.RootElement)}");
        }
        catch (JsonException e)
        {
            throw new YapoException(YapoErrorKind.Format, $"{source} line {number}: not valid JSON (column {e.BytePositionInLine + 1})", e);
        }
    }
}

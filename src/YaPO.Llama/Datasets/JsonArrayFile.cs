using System.Text.Json;
using YaPO.Llama.IO;

namespace YaPO.Llama.Datasets;

/// <summary>Reads a file that is one JSON array of objects, as CAA and Anthropic's model-written evals publish theirs, whatever the file is called. Errors name the entry.</summary>
public static class JsonArrayFile
{
    private const long MaxBytes = 256L << 20;

    /// <summary>Whether a file is an array and not JSON Lines: its first character that is no space is '['.</summary>
    public static bool Is(string path)
    {
        using var stream = InputFile.Open(path);
        Span<byte> one = stackalloc byte[1];
        while (stream.Read(one) == 1)
        {
            if (one[0] is not ((byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n' or 0xEF or 0xBB or 0xBF))
            {
                return one[0] == (byte)'[';
            }
        }

        return false;
    }

    /// <summary>Reads all entries; <see cref="JsonLine.Number"/> counts them from 1.</summary>
    /// <param name="path">The file.</param>
    /// <param name="shape">What an entry looks like, for messages.</param>
    /// <param name="convert">Turns each object into an item and throws <see cref="JsonLine.Bad"/> where it cannot.</param>
    /// <exception cref="YapoException">Unreadable, too large, no array of objects, or malformed at an entry.</exception>
    public static List<T> Read<T>(string path, string shape, Func<JsonLine, T> convert)
    {
        ArgumentNullException.ThrowIfNull(convert);
        using var stream = InputFile.Open(path);
        if (stream.Length > MaxBytes)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path} has {stream.Length >> 20} MiB; a JSON array may have {MaxBytes >> 20}, use JSON Lines");
        }

        try
        {
            using var document = JsonDocument.Parse(stream, new JsonDocumentOptions { MaxDepth = 16, AllowDuplicateProperties = false });
            if (document.RootElement.ValueKind != JsonValueKind.Array)
            {
                throw new YapoException(YapoErrorKind.Format, $"{path}: expected a JSON array of {shape}, found {JsonLine.Kind(document.RootElement)}");
            }

            return
            [
                .. document.RootElement.EnumerateArray().Select((element, i) =>
                {
                    var entry = new JsonLine(path, i + 1, element) { Unit = "entry" };
                    return element.ValueKind == JsonValueKind.Object ? convert(entry) : throw entry.Bad($"expected an object, found {JsonLine.Kind(element)}");
                }),
            ];
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path}{(e is JsonException { LineNumber: { } line } ? $", line {line + 1}" : "")}: this is no JSON: {JsonFailure.Reason(e)}", e);
        }
    }
}

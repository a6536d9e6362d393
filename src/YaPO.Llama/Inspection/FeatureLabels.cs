using System.Globalization;
using System.IO.Compression;
using System.Text.Json;
using YaPO.Llama.Datasets;
using YaPO.Llama.IO;

namespace YaPO.Llama.Inspection;

/// <summary>
/// Labels of features from a file in the manner of Neuronpedia's exports: JSON Lines or one JSON document, gzipped or not. A record names its feature by
/// <c>index</c>, <c>feature</c>, <c>feature_index</c>, <c>feature_id</c>, <c>latent</c> or <c>id</c> (a number or its digits; names are compared without case
/// and underscores) and its label by <c>description</c>, <c>label</c>, <c>explanation</c> or <c>text</c>. A document may be an array of records, an object that
/// holds one in a field, or an object {"123": "label"}. Where a feature comes twice, the first label stays.
/// </summary>
public static class FeatureLabels
{
    private const long MostBytes = 1L << 30;

    private static readonly string[] IndexNames = ["index", "feature", "featureindex", "featureid", "latent", "id"];
    private static readonly string[] LabelNames = ["description", "label", "explanation", "text"];

    /// <summary>Reads the labels of an SAE of <paramref name="width"/> latents.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/> with the line, or the number of the record; <see cref="YapoErrorKind.Mismatch"/> for a
    /// feature beyond the SAE.</exception>
    public static IReadOnlyDictionary<int, string> Load(string path, int width)
    {
        var bytes = ReadAll(path);
        var labels = new Dictionary<int, string>();
        if (IsJsonLines(bytes))
        {
            foreach (var (line, record) in JsonLines.Read(new MemoryStream(bytes), path, line => (line, Record: Read(line.Root))))
            {
                Add(labels, record ?? throw line.Bad(Expected), width, $"{path}, line {line.Number}");
            }
        }
        else if (bytes.AsSpan().ContainsAnyExcept(" \t\r\n"u8))
        {
            try
            {
                ReadDocument(bytes, path, width, labels);
            }
            catch (InvalidOperationException e)
            {
                // System.Text.Json reports bytes that are no UTF-8, and lone surrogates, only when the string is asked for.
                throw new YapoException(YapoErrorKind.Format, $"{path}: {e.Message}", e);
            }
        }

        return labels.Count > 0 ? labels : throw new YapoException(YapoErrorKind.Format, $"{path} holds no label; expected records such as {{\"index\": 123, \"description\": \"..\"}}");
    }

    private const string Expected = "expected a record with a feature number (index, feature, feature_id, id) and a text (description, label, explanation)";

    // One object per line, if the first line is a whole object and not the only one.
    private static bool IsJsonLines(ReadOnlySpan<byte> bytes)
    {
        var end = bytes.IndexOf((byte)'\n');
        if (end < 0 || bytes[(end + 1)..].Trim(" \t\r\n"u8).Length == 0 || bytes.TrimStart(" \t\r\n"u8) is not [(byte)'{', ..])
        {
            return false;
        }

        var reader = new Utf8JsonReader(bytes[..end]);
        try
        {
            return reader.Read() && reader.TrySkip();
        }
        catch (JsonException)
        {
            // A pretty-printed document begins with a lone brace; a first line that says more was meant as a record.
            return bytes[..end].Trim(" \t\r"u8).Length > 1;
        }
    }

    private static void ReadDocument(byte[] bytes, string path, int width, Dictionary<int, string> labels)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = 32 });
        }
        catch (JsonException e)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path}, line {(e.LineNumber ?? 0) + 1}: this is no JSON: {JsonFailure.Reason(e)}", e);
        }

        using (document)
        {
            var root = document.RootElement;
            if (root.ValueKind == JsonValueKind.Object && Read(root) is null && root.EnumerateObject().FirstOrDefault(p => p.Value.ValueKind == JsonValueKind.Array) is { Value.ValueKind: JsonValueKind.Array } list)
            {
                root = list.Value;
            }

            switch (root.ValueKind)
            {
                case JsonValueKind.Array:
                    var number = 0;
                    foreach (var element in root.EnumerateArray())
                    {
                        var where = $"{path}, record {++number}";
                        Add(labels, Read(element) ?? throw new YapoException(YapoErrorKind.Format, $"{where}: {Expected}"), width, where);
                    }

                    break;
                case JsonValueKind.Object when Read(root) is { } single:
                    Add(labels, single, width, path);
                    break;
                case JsonValueKind.Object:
                    foreach (var property in root.EnumerateObject())
                    {
                        var where = $"{path}, field '{property.Name}'";
                        if (!int.TryParse(property.Name, NumberStyles.None, CultureInfo.InvariantCulture, out var index) || property.Value.ValueKind != JsonValueKind.String)
                        {
                            throw new YapoException(YapoErrorKind.Format, $"{where}: {Expected}, or an object {{\"123\": \"label\"}}");
                        }

                        Add(labels, (index, property.Value.GetString()), width, where);
                    }

                    break;
                default:
                    throw new YapoException(YapoErrorKind.Format, $"{path}: {Expected}");
            }
        }
    }

    private static (int Index, string? Label)? Read(JsonElement record)
    {
        if (record.ValueKind != JsonValueKind.Object)
        {
            return null;
        }

        var fields = new Dictionary<string, JsonElement>();
        foreach (var property in record.EnumerateObject())
        {
            fields.TryAdd(property.Name.Replace("_", "", StringComparison.Ordinal).ToLowerInvariant(), property.Value);
        }

        var label = LabelNames.Where(n => fields.TryGetValue(n, out var v) && v.ValueKind is JsonValueKind.String or JsonValueKind.Null).Select(n => fields[n]).ToList();
        foreach (var name in IndexNames)
        {
            if (fields.TryGetValue(name, out var value) && label.Count > 0
                && (value.ValueKind == JsonValueKind.Number ? value.TryGetInt32(out var index)
                    : int.TryParse(value.ValueKind == JsonValueKind.String ? value.GetString() : "", NumberStyles.None, CultureInfo.InvariantCulture, out index)))
            {
                return (index, label.Select(v => v.GetString()).FirstOrDefault(t => !string.IsNullOrWhiteSpace(t)));
            }
        }

        return null;
    }

    private static void Add(Dictionary<int, string> labels, (int Index, string? Label) record, int width, string where)
    {
        if (record.Index < 0 || record.Index >= width)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{where}: feature {record.Index}; the SAE has 0 to {width - 1}. Are these the labels of another SAE?");
        }

        if (record.Label is { } label)
        {
            labels.TryAdd(record.Index, label.Trim());
        }
    }

    private static byte[] ReadAll(string path)
    {
        using var file = InputFile.Open(path);
        Span<byte> magic = stackalloc byte[2];
        var zipped = file.ReadAtLeast(magic, 2, throwOnEndOfStream: false) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
        file.Position = 0;
        using var source = zipped ? new GZipStream(file, CompressionMode.Decompress) : (Stream)file;
        var bytes = new MemoryStream();
        var buffer = new byte[1 << 16];
        try
        {
            for (int n; (n = source.Read(buffer)) > 0;)
            {
                if (bytes.Length + n > MostBytes)
                {
                    throw new YapoException(YapoErrorKind.Unsupported, $"{path} holds more than {MostBytes >> 30} GiB of labels");
                }

                bytes.Write(buffer, 0, n);
            }
        }
        catch (InvalidDataException e)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path} is no whole gzip file: {e.Message}", e);
        }

        return bytes.ToArray();
    }
}

using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace YaPO.Llama.IO;

/// <summary>
/// One spelling per JSON value, so that equal content gives equal bytes and hashes: object keys sorted by code unit, no white
/// space, integers without exponent, other numbers in the shortest form that reads back to the same double.
/// </summary>
public static class CanonicalJson
{
    private const int MaxDepth = 64;

    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, MaxDepth = MaxDepth };

    /// <summary>Parses <paramref name="json"/> and writes it canonically.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: not valid JSON, a key twice, deeper than 64.
    /// <paramref name="what"/> opens the message.</exception>
    public static string Normalize(string json, string what)
    {
        try
        {
            using var document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = MaxDepth, AllowDuplicateProperties = false });
            using var stream = new MemoryStream();
            using (var writer = new Utf8JsonWriter(stream, Options))
            {
                Write(writer, document.RootElement);
            }

            return System.Text.Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new YapoException(YapoErrorKind.Format, $"{what} is not valid JSON: {e.Message}", e);
        }
    }

    /// <summary>Writes a node canonically.</summary>
    public static string Write(JsonNode node) => Normalize(node.ToJsonString(), "value");

    private static void Write(Utf8JsonWriter writer, JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                writer.WriteStartObject();
                foreach (var property in element.EnumerateObject().OrderBy(p => p.Name, StringComparer.Ordinal))
                {
                    writer.WritePropertyName(property.Name);
                    Write(writer, property.Value);
                }

                writer.WriteEndObject();
                break;
            case JsonValueKind.Array:
                writer.WriteStartArray();
                foreach (var item in element.EnumerateArray())
                {
                    Write(writer, item);
                }

                writer.WriteEndArray();
                break;
            case JsonValueKind.Number when element.TryGetInt64(out var integer):
                writer.WriteNumberValue(integer);
                break;
            case JsonValueKind.Number:
                writer.WriteNumberValue(element.GetDouble());
                break;
            default:
                element.WriteTo(writer);
                break;
        }
    }
}

using System.Text.Encodings.Web;
using System.Text.Json;

namespace YaPO.Llama.Datasets;

/// <summary>
/// A multiple-choice question: <c>{"question", "options": [..], "answer": INDEX, "topic", "culture", "localized"}</c>; the last three are optional.
/// </summary>
/// <param name="Question">The question, without the options.</param>
/// <param name="Options">At least two, in the order shown.</param>
/// <param name="Answer">Zero-based index of the right one.</param>
/// <param name="Topic">Topic; empty without one. Splits never cut through a topic.</param>
/// <param name="Culture">The culture whose answer is right; empty for general knowledge.</param>
/// <param name="Localized">Whether the question names the culture; null where that means nothing.</param>
/// <param name="Line">Line number in the file, from 1.</param>
public sealed record McqItem(string Question, IReadOnlyList<string> Options, int Answer, string Topic = "", string Culture = "", bool? Localized = null, int Line = 0)
{
    private const int MaxOptions = 26;

    private static readonly JsonWriterOptions Relaxed = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Reads a file, all of it.</summary>
    /// <exception cref="YapoException">Unreadable, without a single item, or with the line number where a line is malformed.</exception>
    public static IReadOnlyList<McqItem> Load(string path)
    {
        var items = JsonLines.Read(path, Convert).ToArray();
        return items.Length > 0 ? items : throw new YapoException(YapoErrorKind.Format, $"{path} holds no questions; a line looks like {{\"question\": \"..\", \"options\": [\"..\", \"..\"], \"answer\": 0}}");
    }

    /// <summary>Reads one line.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>, with the line number.</exception>
    public static McqItem Convert(JsonLine line)
    {
        var options = line.Texts("options");
        if (options.Length is < 2 or > MaxOptions || options.Distinct(StringComparer.Ordinal).Count() != options.Length)
        {
            throw line.Bad($"field 'options' must hold 2 … {MaxOptions} different strings, found {options.Length}");
        }

        bool? localized = line.Get("localized") is not { } value ? null : value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw line.Bad($"field 'localized' must be true or false, found {JsonLine.Kind(value)}"),
        };
        return new McqItem(
            line.Text("question"), options, line.WholeNumber("answer", 0, options.Length - 1),
            line.OptionalText("topic") ?? "", line.OptionalText("culture") ?? "", localized, line.Number);
    }

    /// <summary>The item as one line of JSON, fields in a fixed order.</summary>
    public string ToJson()
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, Relaxed))
        {
            writer.WriteStartObject();
            writer.WriteString("question", Question);
            writer.WriteStartArray("options");
            foreach (var option in Options)
            {
                writer.WriteStringValue(option);
            }

            writer.WriteEndArray();
            writer.WriteNumber("answer", Answer);
            if (Topic.Length > 0)
            {
                writer.WriteString("topic", Topic);
            }

            if (Culture.Length > 0)
            {
                writer.WriteString("culture", Culture);
            }

            if (Localized is { } localized)
            {
                writer.WriteBoolean("localized", localized);
            }

            writer.WriteEndObject();
        }

        return System.Text.Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }
}

using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace YaPO.Llama.Cli.Terminal;

/// <summary>The JSON that scripts read: snake_case names, absent values left out, letters of every script as they are, numbers that are not finite as null.</summary>
internal static class JsonOutput
{
    private static readonly JsonSerializerOptions Document = Options(indented: true);
    private static readonly JsonSerializerOptions Line = Options(indented: false);

    /// <summary>Writes one indented document to stdout.</summary>
    public static void WriteJson<T>(this CommandConsole console, T value) =>
        console.Out.WriteLine(Serialize(value));

    /// <summary>One indented document.</summary>
    public static string Serialize<T>(T value) => JsonSerializer.Serialize(value, Document);

    /// <summary>Writes one line of JSON Lines to stdout.</summary>
    public static void WriteJsonLine<T>(this CommandConsole console, T value) =>
        console.WriteDataLine(JsonSerializer.Serialize(value, Line));

    private static JsonSerializerOptions Options(bool indented) => new()
    {
        WriteIndented = indented,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new FiniteDouble(), new FiniteSingle() },
    };

    // JSON has no word for a number that is not finite. A model driven out of its numbers is a result, too, and what was found must not be lost for it.
    private sealed class FiniteDouble : JsonConverter<double>
    {
        public override double Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => throw new NotSupportedException("only written");

        public override void Write(Utf8JsonWriter writer, double value, JsonSerializerOptions options)
        {
            if (double.IsFinite(value))
            {
                writer.WriteNumberValue(value);
            }
            else
            {
                writer.WriteNullValue();
            }
        }
    }

    private sealed class FiniteSingle : JsonConverter<float>
    {
        public override float Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => throw new NotSupportedException("only written");

        public override void Write(Utf8JsonWriter writer, float value, JsonSerializerOptions options)
        {
            if (float.IsFinite(value))
            {
                writer.WriteNumberValue(value);
            }
            else
            {
                writer.WriteNullValue();
            }
        }
    }
}

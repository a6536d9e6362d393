using System.Text.Json;
using System.Text.Json.Serialization;

namespace YaPO.Llama.Evaluation.Reports;

/// <summary>Writes numbers that are not finite as null, for which JSON has no word: a model driven out of its numbers is a result, too, and must not cost the rest of the report.</summary>
internal sealed class FiniteNumbers : JsonConverter<double>
{
    /// <inheritdoc/>
    public override double Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.TokenType == JsonTokenType.Null ? double.NaN : reader.GetDouble();

    /// <inheritdoc/>
    public override bool HandleNull => true;

    /// <inheritdoc/>
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

using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace YaPO.Llama.Training.Configuration;

/// <summary>JSON with keys in ordinal order, shortest round-trip numbers and no white space: equal settings give equal bytes.</summary>
public static class CanonicalJson
{
    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>An object of these members; null values are left out. Values: string, bool, integers, float, double.</summary>
    public static string Write(params ReadOnlySpan<(string Name, object? Value)> members)
    {
        var sorted = members.ToArray();
        Array.Sort(sorted, (a, b) => string.CompareOrdinal(a.Name, b.Name));
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            json.WriteStartObject();
            foreach (var (name, value) in sorted)
            {
                switch (value)
                {
                    case null: break;
                    case string s: json.WriteString(name, s); break;
                    case bool b: json.WriteBoolean(name, b); break;
                    case int i: json.WriteNumber(name, i); break;
                    case long l: json.WriteNumber(name, l); break;
                    case ulong u: json.WriteNumber(name, u); break;
                    case float f: json.WriteNumber(name, f); break;
                    case double d: json.WriteNumber(name, d); break;
                    default: throw new ArgumentException($"{name}: no canonical form for {value.GetType().Name}");
                }
            }

            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }
}

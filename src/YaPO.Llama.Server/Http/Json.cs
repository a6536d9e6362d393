using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace YaPO.Llama.Server.Http;

/// <summary>How everything is written: snake_case, fields that are null left out.</summary>
internal static class Json
{
    public static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.General)
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, // never inside a page: every response says what it is, and nosniff
    };

    private static readonly JsonSerializerOptions WithNulls = new(Options) { DefaultIgnoreCondition = JsonIgnoreCondition.Never };

    public static readonly JsonDocumentOptions Reading = new() { MaxDepth = 16 };

    public static byte[] Bytes(object value) => JsonSerializer.SerializeToUtf8Bytes(value, value.GetType(), Options);

    /// <summary>OpenAI's error object; its fields are there even where they are null.</summary>
    public static byte[] Error(ApiException error) => JsonSerializer.SerializeToUtf8Bytes(
        new { error = new { message = error.Message, type = error.Type, param = error.Param, code = error.Code } },
        WithNulls);
}

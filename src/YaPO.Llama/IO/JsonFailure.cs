using System.Text.Json;

namespace YaPO.Llama.IO;

/// <summary>Why a text is no JSON, in words that fit behind a file's name and line.</summary>
internal static class JsonFailure
{
    /// <summary>The parser's reason without its own zero-based "LineNumber: 0 | BytePositionInLine: 7", which contradicts the line that a message names; instead the byte, counted from 1.</summary>
    public static string Reason(Exception e)
    {
        var at = e.Message.IndexOf(" LineNumber:", StringComparison.Ordinal);
        var reason = (at < 0 ? e.Message : e.Message[..at]).TrimEnd('.');
        return e is JsonException { BytePositionInLine: { } position } ? $"{reason} (byte {position + 1} of the line)" : reason;
    }
}

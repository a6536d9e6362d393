using System.Text;

namespace YaPO.Llama.Models;

/// <summary>
/// Joins token pieces into text: a character whose bytes are spread over several tokens comes out with the last of them, never as a broken half.
/// Bytes that can be no UTF-8 become U+FFFD.
/// </summary>
public sealed class Utf8Assembler
{
    private readonly Decoder decoder = new UTF8Encoding(false, throwOnInvalidBytes: false).GetDecoder();

    /// <summary>The text that is complete after these bytes.</summary>
    public string Append(ReadOnlySpan<byte> bytes) => Decode(bytes, flush: false);

    /// <summary>What is left at the end: an unfinished character becomes U+FFFD.</summary>
    public string Flush() => Decode([], flush: true);

    private string Decode(ReadOnlySpan<byte> bytes, bool flush)
    {
        var n = decoder.GetCharCount(bytes, flush);
        if (n == 0)
        {
            // GetChars still has to see the bytes: they are the beginning of a character.
            decoder.GetChars(bytes, [], flush);
            return "";
        }

        return string.Create(n, (Stream: this, Bytes: bytes.ToArray(), flush), static (chars, s) => s.Stream.decoder.GetChars(s.Bytes, chars, s.flush));
    }
}

using System.Text;
using System.Text.Json;
using YaPO.Llama.IO;

namespace YaPO.Llama.Datasets;

/// <summary>
/// Reads JSON Lines: one JSON object per line, UTF-8, empty lines skipped. Every error names file and line. One line is in memory at a time.
/// </summary>
public static class JsonLines
{
    /// <summary>The longest line that is read.</summary>
    public const int MaxLineBytes = 16 << 20;

    private static readonly JsonDocumentOptions Options = new() { MaxDepth = 32, AllowDuplicateProperties = false };

    /// <summary>Reads a file; <paramref name="convert"/> turns each object into an item and throws <see cref="JsonLine.Bad"/> where it cannot.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Io"/> or, with the line number, <see cref="YapoErrorKind.Format"/>.</exception>
    public static IEnumerable<T> Read<T>(string path, Func<JsonLine, T> convert)
    {
        using var stream = InputFile.Open(path);
        foreach (var item in Read(stream, path, convert))
        {
            yield return item;
        }
    }

    /// <summary>Reads a stream, such as standard input; <paramref name="source"/> names it in messages.</summary>
    public static IEnumerable<T> Read<T>(Stream stream, string source, Func<JsonLine, T> convert)
    {
        var lines = new LineReader(stream, source);
        while (lines.Next() is { } bytes)
        {
            if (bytes.Span.Trim(" \t\r"u8).Length == 0)
            {
                continue;
            }

            JsonDocument document;
            try
            {
                document = JsonDocument.Parse(bytes, Options);
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException)
            {
                var what = bytes.Span.StartsWith("GGUF"u8) ? "this is a GGUF file, expected lines of JSON" : $"this is no JSON: {JsonFailure.Reason(e)}";
                throw new YapoException(YapoErrorKind.Format, $"{source}, line {lines.Number}: {what}", e);
            }

            using (document)
            {
                var line = new JsonLine(source, lines.Number, document.RootElement);
                if (document.RootElement.ValueKind != JsonValueKind.Object)
                {
                    throw line.Bad($"a JSON object is expected on every line, found {JsonLine.Kind(document.RootElement)}");
                }

                T item;
                try
                {
                    item = convert(line);
                }
                catch (InvalidOperationException e)
                {
                    // System.Text.Json reports a lone surrogate in a string only when the string is asked for.
                    throw new YapoException(YapoErrorKind.Format, $"{source}, line {lines.Number}: {e.Message}", e);
                }

                yield return item;
            }
        }
    }

    /// <summary>Cuts a stream into lines without ever holding more than one.</summary>
    private sealed class LineReader(Stream stream, string source)
    {
        private byte[] _buffer = new byte[1 << 16];
        private int _start;
        private int _end;
        private bool _atEnd;

        public int Number { get; private set; }

        /// <summary>The next line without its line feed, valid until the next call; null at the end.</summary>
        public ReadOnlyMemory<byte>? Next()
        {
            Number++;
            var searched = 0;
            while (true)
            {
                var newline = _buffer.AsSpan(_start + searched, _end - _start - searched).IndexOf((byte)'\n');
                if (newline >= 0 || _atEnd)
                {
                    if (newline < 0 && _start == _end)
                    {
                        return null;
                    }

                    var length = newline >= 0 ? searched + newline : _end - _start;
                    var line = _buffer.AsMemory(_start, length);
                    _start = Math.Min(_end, _start + length + 1);
                    return Number == 1 && line.Span.StartsWith(Encoding.UTF8.Preamble) ? line[3..] : line;
                }

                searched = _end - _start;
                Fill();
            }
        }

        private void Fill()
        {
            if (_start > 0)
            {
                _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
                (_start, _end) = (0, _end - _start);
            }

            if (_end == _buffer.Length)
            {
                if (_end >= MaxLineBytes)
                {
                    throw new YapoException(YapoErrorKind.Format, $"{source}, line {Number}: the line is longer than {MaxLineBytes >> 20} MiB; is this JSON Lines (one object per line)?");
                }

                Array.Resize(ref _buffer, _buffer.Length * 2);
            }

            try
            {
                var n = stream.Read(_buffer, _end, _buffer.Length - _end);
                _end += n;
                _atEnd = n == 0;
            }
            catch (IOException e)
            {
                throw new YapoException(YapoErrorKind.Io, $"cannot read {source}: {e.Message}", e);
            }
        }
    }
}

using System.Text;
using YaPO.Llama.IO;

namespace YaPO.Llama.Datasets;

/// <summary>A row of a CSV file.</summary>
/// <param name="Source">The file, as messages name it.</param>
/// <param name="Line">Line on which the row begins, from 1.</param>
/// <param name="Cells">Its cells, unquoted.</param>
public sealed record CsvRow(string Source, int Line, IReadOnlyList<string> Cells)
{
    /// <summary>An error at this row, to be thrown.</summary>
    public YapoException Bad(string message) => new(YapoErrorKind.Format, $"{Source}, line {Line}: {message}");
}

/// <summary>Reads CSV as RFC 4180 defines it: quoted cells may hold commas, doubled quotes and line breaks. UTF-8; empty lines are skipped.</summary>
public static class CsvFile
{
    /// <summary>The longest row that is read.</summary>
    public const int MaxRowCharacters = 16 << 20;

    /// <summary>Reads a file row by row.</summary>
    /// <exception cref="YapoException">Unreadable, not UTF-8, a quote that is never closed or has text behind it, or an endless row; with the line number.</exception>
    public static IEnumerable<CsvRow> Read(string path)
    {
        using var stream = InputFile.Open(path);
        using var reader = new StreamReader(stream, new UTF8Encoding(false, throwOnInvalidBytes: true));
        var parser = new Parser(reader, path);
        while (parser.Next() is { } row)
        {
            if (row.Cells.Count > 1 || row.Cells[0].Length > 0)
            {
                yield return row;
            }
        }
    }

    private sealed class Parser(StreamReader reader, string source)
    {
        private const int End = -1;
        private readonly StringBuilder cell = new();
        private int line = 1;
        private int? ahead;

        /// <summary>The next row; null at the end of the file.</summary>
        public CsvRow? Next()
        {
            var (start, length, cells) = (line, 0, new List<string>());
            if (Peek() == End)
            {
                return null;
            }

            while (true)
            {
                cell.Clear();
                var quoted = Peek() == '"';
                if (quoted)
                {
                    QuotedCell(start, ref length);
                }

                for (var c = Peek(); c is not (',' or '\n' or End); c = Peek())
                {
                    Take();
                    if (c == '\r' && Peek() is '\n' or End)
                    {
                        break; // the line feed ends the row
                    }

                    if (quoted)
                    {
                        throw Bad(line, $"there is text after the closing quote of cell {cells.Count + 1}; a quote inside a quoted cell is written twice");
                    }

                    Append(c, start, ref length);
                }

                cells.Add(cell.ToString());
                if (Take() != ',')
                {
                    return new CsvRow(source, start, cells);
                }
            }
        }

        private void QuotedCell(int start, ref int length)
        {
            Take();
            while (true)
            {
                var c = Take();
                if (c == End)
                {
                    throw Bad(start, "a quote that opens a cell is never closed");
                }

                if (c == '"')
                {
                    if (Peek() != '"')
                    {
                        return;
                    }

                    Take();
                }

                Append(c, start, ref length);
            }
        }

        private void Append(int c, int start, ref int length)
        {
            if (++length > MaxRowCharacters)
            {
                throw Bad(start, $"the row is longer than {MaxRowCharacters >> 20} Mi characters; is a quote never closed?");
            }

            cell.Append((char)c);
        }

        private int Take()
        {
            var c = Peek();
            line += c == '\n' ? 1 : 0;
            ahead = c == End ? End : null;
            return c;
        }

        private int Peek()
        {
            try
            {
                return ahead ??= reader.Read();
            }
            catch (DecoderFallbackException e)
            {
                throw new YapoException(YapoErrorKind.Format, $"{source}, near line {line}: this is no UTF-8 text", e);
            }
            catch (IOException e)
            {
                throw new YapoException(YapoErrorKind.Io, $"cannot read {source}: {e.Message}", e);
            }
        }

        private YapoException Bad(int at, string message) => new(YapoErrorKind.Format, $"{source}, line {at}: {message}");
    }
}

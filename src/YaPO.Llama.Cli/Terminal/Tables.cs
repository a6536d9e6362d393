using Spectre.Console;

namespace YaPO.Llama.Cli.Terminal;

/// <summary>What people read on stdout: tables and name–value lists, without escape sequences when redirected.</summary>
internal static class Tables
{
    private const int CellFrame = 3; // a border and a space on either side

    /// <summary>
    /// Writes a table; the cells are plain text. Columns that no row fills are left out. Where the terminal is too narrow for the words of a row side by side, every row becomes a list
    /// of its own.
    /// </summary>
    public static void WriteTable(this CommandConsole console, IReadOnlyList<string> headers, IEnumerable<IReadOnlyList<string>> rows)
    {
        var cells = rows.ToList();
        var filled = Enumerable.Range(0, headers.Count).Where(c => c == 0 || cells.Count == 0 || cells.Exists(row => row[c].Length > 0)).ToList();
        var widths = Widths(
            [.. filled.Select(c => cells.Select(row => row[c]).Append(headers[c]).Max(LongestWord))],
            [.. filled.Select(c => cells.Select(row => row[c]).Append(headers[c]).Max(text => text.GetCellWidth()))],
            console.Width - 1 - (CellFrame * filled.Count));
        if (widths is null)
        {
            WriteRecords(console, [.. filled.Select(c => headers[c])], [.. cells.Select(row => filled.ConvertAll(c => row[c]))]);
            return;
        }

        var table = new Table { Border = console.IsOutputInteractive ? TableBorder.Rounded : TableBorder.Ascii };
        foreach (var (i, column) in filled.Index())
        {
            table.AddColumn(new TableColumn(new Text(headers[column])) { Width = widths[i] });
        }

        foreach (var row in cells)
        {
            table.AddRow([.. filled.Select(column => new Text(row[column]))]); // as markup, "[" would be a piece of its own and a place to break
        }

        console.Ansi().Write(table);
    }

    // The first column names the row: it stands alone, and what is said of it follows, indented.
    private static void WriteRecords(CommandConsole console, IReadOnlyList<string> headers, IReadOnlyList<IReadOnlyList<string>> rows)
    {
        foreach (var row in rows)
        {
            console.WriteList(Enumerable.Range(0, headers.Count).Where(c => c == 0 || row[c].Length > 0).Select(c => (c == 0 ? headers[c] : $"  {headers[c]}", (string?)row[c])));
        }
    }

    /// <summary>
    /// Columns between the longest word and the longest text of each, the room going to those that lack most: Spectre by itself takes from all alike and breaks words. Null where even
    /// the words do not fit.
    /// </summary>
    private static int[]? Widths(int[] least, int[] most, int room)
    {
        var left = room - least.Sum();
        if (left < 0)
        {
            return null;
        }

        var widths = least.ToArray();
        for (; left > 0 && widths.Zip(most).Any(w => w.First < w.Second); left--)
        {
            var neediest = Enumerable.Range(0, widths.Length).MaxBy(i => most[i] - widths[i]);
            widths[neediest]++;
        }

        return widths;
    }

    private static int LongestWord(string text) => text.Split(' ', '\n').Max(word => word.GetCellWidth());

    /// <summary>A Spectre console over stdout: colours and box characters for a person, plain text when redirected.</summary>
    public static IAnsiConsole Ansi(this CommandConsole console)
    {
        var ansi = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = console.IsOutputInteractive ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = console.IsOutputInteractive ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = InteractionSupport.No,
            Out = new AnsiConsoleOutput(console.Out),
        });
        ansi.Profile.Width = console.Width;
        ansi.Profile.Capabilities.Unicode = console.IsOutputInteractive;
        return ansi;
    }

    /// <summary>Writes "name  value" lines with the values in one column; null values are left out.</summary>
    public static void WriteList(this CommandConsole console, IEnumerable<(string Name, string? Value)> entries)
    {
        var shown = entries.Where(e => e.Value is not null).ToList();
        var width = shown.Count == 0 ? 0 : shown.Max(e => e.Name.Length);
        foreach (var (name, value) in shown)
        {
            console.Out.WriteLine($"{name.PadRight(width)}  {value}");
        }
    }
}

using Spectre.Console;

namespace YaPO.Llama.Cli.Terminal;

/// <summary>What people read on stdout: tables and name–value lists, without escape sequences when redirected.</summary>
internal static class Tables
{
    /// <summary>Writes a table; the cells are plain text.</summary>
    public static void WriteTable(this CommandConsole console, IReadOnlyList<string> headers, IEnumerable<IReadOnlyList<string>> rows)
    {
        var table = new Table { Border = console.IsOutputInteractive ? TableBorder.Rounded : TableBorder.Ascii };
        foreach (var header in headers)
        {
            table.AddColumn(new TableColumn(Markup.Escape(header)));
        }

        foreach (var row in rows)
        {
            table.AddRow([.. row.Select(Markup.Escape)]);
        }

        console.Ansi().Write(table);
    }

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

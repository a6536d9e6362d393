namespace YaPO.Llama.Evaluation.Reports.Pages;

/// <summary>A report as people read it, before it becomes HTML. All text is plain: writing it escapes it.</summary>
public sealed record ReportPage
{
    /// <summary>What the page is about, in one line.</summary>
    public required string Title { get; init; }

    /// <summary>The answer in a few words: who wins.</summary>
    public required string Headline { get; init; }

    /// <summary>The first paragraph, behind the headline.</summary>
    public required string Lead { get; init; }

    /// <summary>Name and value of everything that the figures depend on.</summary>
    public IReadOnlyList<(string Name, string Value)> Facts { get; init; } = [];

    /// <summary>The body.</summary>
    public required IReadOnlyList<ReportSection> Sections { get; init; }

    /// <summary>What is missing, and why.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>The same numbers as JSON, embedded as they are.</summary>
    public required string Json { get; init; }
}

/// <summary>A heading with what belongs under it.</summary>
/// <param name="Title">The heading.</param>
/// <param name="Text">A paragraph; empty for none.</param>
/// <param name="Parts">Tables and charts in order.</param>
public sealed record ReportSection(string Title, string Text, IReadOnlyList<ReportPart> Parts);

/// <summary>Something to look at.</summary>
public abstract record ReportPart;

/// <summary>A table; the first column is text, the others numbers.</summary>
/// <param name="Headers">One per column.</param>
/// <param name="Rows">Cells as they are shown.</param>
/// <param name="Own">Index of the row that the report is about, or −1.</param>
public sealed record ReportTable(IReadOnlyList<string> Headers, IReadOnlyList<IReadOnlyList<string>> Rows, int Own = -1) : ReportPart
{
    /// <summary>Those of <paramref name="columns"/> that have a cell in any row; the first always.</summary>
    public static ReportTable Of<T>(IReadOnlyList<T> rows, Func<T, bool> own, params (string Header, Func<T, string> Cell)[] columns)
    {
        var shown = columns.Where((c, i) => i == 0 || rows.Any(r => c.Cell(r).Length > 0)).ToList();
        return new ReportTable([.. shown.Select(c => c.Header)], [.. rows.Select(r => (IReadOnlyList<string>)[.. shown.Select(c => c.Cell(r))])], rows.ToList().FindIndex(r => own(r)));
    }
}

/// <summary>A text list.</summary>
/// <param name="Items">Its lines.</param>
public sealed record ReportList(IReadOnlyList<string> Items) : ReportPart;

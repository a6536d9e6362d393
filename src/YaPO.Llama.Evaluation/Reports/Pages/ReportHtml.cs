using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using YaPO.Llama.IO;

namespace YaPO.Llama.Evaluation.Reports.Pages;

/// <summary>
/// Writes a page as one HTML file that asks for nothing: script and style stand in it, and its content security policy forbids everything else. Text is
/// escaped; tables are readable without the script.
/// </summary>
public static class ReportHtml
{
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Converters = { new FiniteNumbers() },
    };

    /// <summary>Writes the file: whole or not at all.</summary>
    public static void Save(string path, ReportPage page) => AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(Write(page))));

    /// <summary>The page as text. Equal pages give equal text.</summary>
    public static string Write(ReportPage page)
    {
        ArgumentNullException.ThrowIfNull(page);
        var script = Resource("report.js")?.Replace("</script", "<\\/script", StringComparison.OrdinalIgnoreCase);
        var html = new StringBuilder();
        var charts = new List<ReportChart>();
        html.Append("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        html.Append($"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'{(script is null ? "" : $"; script-src 'sha256-{Hash(script)}'")}\">\n");
        html.Append($"<title>{Text(page.Title)}</title>\n<style>{Resource("report.css")}</style>\n</head>\n<body>\n<h1>{Text(page.Title)}</h1>\n");
        html.Append($"<p class=\"lead\"><strong>{Text(page.Headline)}</strong> {Text(page.Lead)}</p>\n<dl>\n");
        foreach (var (name, value) in page.Facts)
        {
            html.Append($"<dt>{Text(name)}</dt><dd>{Text(value)}</dd>\n");
        }

        html.Append("</dl>\n");
        foreach (var section in page.Sections)
        {
            html.Append($"<section>\n<h2>{Text(section.Title)}</h2>\n");
            if (section.Text.Length > 0)
            {
                html.Append($"<p>{Text(section.Text)}</p>\n");
            }

            foreach (var part in section.Parts)
            {
                Append(html, part, charts, script is not null);
            }

            html.Append("</section>\n");
        }

        if (page.Notes.Count > 0)
        {
            html.Append("<section>\n<h2>What is missing here</h2>\n");
            Append(html, new ReportList(page.Notes), charts, false);
            html.Append("</section>\n");
        }

        html.Append("<footer><p>Written by yapo-llama. All numbers stand in this file as JSON, in the element with the id “report”.");
        html.Append(script is null ? " This yapo-llama was built without its charting library, so the figures are missing; the tables are complete.</p></footer>\n" : "</p></footer>\n");
        html.Append($"<script type=\"application/json\" id=\"report\">{InScript(page.Json)}</script>\n");
        html.Append($"<script type=\"application/json\" id=\"charts\">{InScript(JsonSerializer.Serialize(charts, Json))}</script>\n");
        if (script is not null)
        {
            html.Append($"<script>{script}</script>\n");
        }

        return html.Append("</body>\n</html>\n").ToString();
    }

    private static void Append(StringBuilder html, ReportPart part, List<ReportChart> charts, bool drawn)
    {
        switch (part)
        {
            case ReportTable table:
                html.Append("<div class=\"scroll\"><table>\n<thead><tr>").AppendJoin("", table.Headers.Select(h => $"<th>{Text(h)}</th>")).Append("</tr></thead>\n<tbody>\n");
                for (var i = 0; i < table.Rows.Count; i++)
                {
                    html.Append(i == table.Own ? "<tr class=\"own\">" : "<tr>").AppendJoin("", table.Rows[i].Select(c => $"<td>{Text(c)}</td>")).Append("</tr>\n");
                }

                html.Append("</tbody></table></div>\n");
                break;
            case ReportList list:
                html.Append("<ul>\n").AppendJoin("", list.Items.Select(i => $"<li>{Text(i)}</li>\n")).Append("</ul>\n");
                break;
            case ReportChart chart when drawn:
                html.Append($"<figure><figcaption>{Text(chart.Title)}</figcaption><div data-chart=\"{charts.Count}\"></div></figure>\n");
                charts.Add(chart);
                break;
        }
    }

    private static string Text(string text) => WebUtility.HtmlEncode(text);

    // Inside a script element only "<" can end it or open a comment; in JSON it occurs in strings alone.
    private static string InScript(string json) => json.Replace("<", "\\u003c", StringComparison.Ordinal);

    private static string Hash(string script) => Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(script)));

    private static string? Resource(string name)
    {
        using var stream = typeof(ReportHtml).Assembly.GetManifestResourceStream("web/" + name);
        if (stream is null)
        {
            return null;
        }

        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }
}

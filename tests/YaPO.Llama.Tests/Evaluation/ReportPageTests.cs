using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Reports.Pages;

namespace YaPO.Llama.Tests.Evaluation;

/// <summary>Reports as HTML: nothing asked for, nothing smuggled in, the verdict first.</summary>
public sealed partial class ReportPageTests
{
    private const string Hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'";

    [Fact]
    public void Write_HostileText_StaysText()
    {
        var html = ReportHtml.Write(EvaluationPage.Of(Report(Hostile)));

        html.Should().NotContain("<script>alert").And.NotContain("<img").And.Contain(WebUtility.HtmlEncode(Hostile));
        ScriptEnd().Count(html).Should().Be(3, "the JSON, the charts and the program, each closed once");
        using var embedded = JsonDocument.Parse(Embedded(html, "report"));
        embedded.RootElement.GetProperty("vectors")[0].GetProperty("vector").GetString().Should().Be(Hostile);
        using var charts = JsonDocument.Parse(Embedded(html, "charts"));
        charts.RootElement.EnumerateArray().Select(c => c.GetProperty("type").GetString()).Should().Equal("intervals", "intervals", "strip", "lines", "lines", "cells");
    }

    [Fact]
    public void Write_Page_AsksForNothingAndRunsOnlyItsOwnScript()
    {
        var html = ReportHtml.Write(EvaluationPage.Of(Report("egypt")));

        var policy = Policy().Match(html).Groups[1].Value;
        policy.Should().StartWith("default-src 'none'").And.NotContain("http").And.NotContain("unsafe-eval");
        var script = html[(html.LastIndexOf("<script>", StringComparison.Ordinal) + "<script>".Length)..html.LastIndexOf("</script>", StringComparison.Ordinal)];
        policy.Should().Contain($"script-src 'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(script)))}'");
        var rest = html.Replace(script, "", StringComparison.Ordinal);
        rest.Should().NotMatchRegex("(src|href)\\s*=").And.NotMatchRegex("url\\(|@import|https?:");
    }

    [Fact]
    public void Write_SamePage_GivesTheSameTextWithTheNumbersOfTheJson()
    {
        var report = Report("egypt");

        var html = ReportHtml.Write(EvaluationPage.Of(report));

        html.Should().Be(ReportHtml.Write(EvaluationPage.Of(report)));
        JsonDocument.Parse(Embedded(html, "report")).RootElement.ToString().Should().Be(JsonDocument.Parse(report.ToJson()).RootElement.ToString());
        html.Should().Contain("73.9 % [64.0, 83.0]").And.Contain("<tr class=\"own\"><td>egypt</td>").And.Contain("prefers-color-scheme").And.Contain("@media print");
        html.IndexOf("prompting wins over it", StringComparison.Ordinal).Should().BeInRange(0, html.IndexOf("<table>", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(0.05, 0.1, 0.2, 0.25, "it wins over prompting, and it beats every control measured; there are too few random controls to tell chance from effect")]
    [InlineData(-0.1, -0.05, 0.2, 0.01, "prompting wins over it, and it beats every control measured")]
    [InlineData(-0.1, 0.05, 0.2, 0.01, "prompting does as well, and it beats every control measured")]
    [InlineData(0.05, 0.1, 0.2, 0.5, "it wins over prompting, and these controls do as well: random direction")]
    [InlineData(0.05, 0.1, -0.2, 0.01, "it wins over prompting, and a control wins over it: flattened")]
    [InlineData(-0.2, -0.1, -0.2, 0.01, "prompting wins over it, and so does a control: flattened")]
    [InlineData(null, null, 0.2, 0.01, "how it compares with prompting was not measured, and it beats every control measured")]
    public void Headline_SaysWhoWins(double? promptLow, double? promptHigh, double flattened, double p, string expected)
    {
        var vector = Report("v").Vectors[0];
        var rows = vector.Rows
            .Where(r => r.Kind != "prompt_only" || promptLow is not null)
            .Select(r => r.Kind switch
            {
                "prompt_only" => r with { VectorAdvantage = new Interval(0, promptLow!.Value, promptHigh!.Value, 10) },
                "flattened" => r with { VectorAdvantage = new Interval(flattened, flattened - 0.01, flattened + 0.01, 10) },
                _ => r,
            }).ToList();

        Headlines.Of(vector with { Rows = rows, Random = [vector.Random[0] with { PValue = p }] }).Should().Be($"v: {expected}.");
    }

    private static EvaluationReport Report(string name)
    {
        static Interval Around(double value) => new(value, value - 0.099, value + 0.091, 528);
        ReportRow Row(string row, string kind, double value) => new() { Name = row, Kind = kind, Value = Around(value), Knowledge = Around(0.9), VectorAdvantage = kind == "vector" ? null : Around(0.2) };
        return new EvaluationReport
        {
            Verdict = $"{name} raises it.",
            Suite = "mcq by text",
            DetailMeasure = "margin",
            Measure = $"share of questions answered as '{name}'",
            IsShare = true,
            LowerIsBetter = false,
            Model = "model.gguf",
            Data = "data.jsonl",
            Items = 528,
            Topics = 66,
            Seed = 1,
            Vectors =
            [
                new VectorReport
                {
                    Vector = name,
                    Layers = [2],
                    Support = 256,
                    NegativeMass = 0.01,
                    Strength = 0.5,
                    StrengthChosen = true,
                    ZeroIsUnsteered = true,
                    Validation = [new TriedStrength(0.25, 0.5), new TriedStrength(0.5, 0.7)],
                    Rows =
                    [
                        Row("unsteered", "unsteered", 0.25), Row("prompt only", "prompt_only", 0.9) with { VectorAdvantage = new Interval(-0.2, -0.3, -0.1, 528) },
                        Row(name, "vector", 0.739), Row("flattened", "flattened", 0.4),
                    ],
                    Random = [new RandomControls("random_direction", 3, 128, 0.7, 0.3, 0.4, 0.25, [0.2, 0.3, 0.4], [1, 1, 1])],
                    EqualKl = [new EqualKlCurve(name, "vector", [new EqualKlPoint(0.01, 0.2, 0.0101, 0.4, 0.15), new EqualKlPoint(0.1, 0.5, 0.1, 0.7, 0.45)])],
                    Verdict = $"{name} raises it.",
                },
            ],
            Matrix = new LabelMatrix(["brazil", "egypt"], [new LabelMatrixRow("unsteered", [0.5, 0.5]), new LabelMatrixRow(name, [0.2, 0.8])]),
            Notes = [$"no random latents for {name}"],
        };
    }

    private static string Embedded(string html, string id)
    {
        var open = $"<script type=\"application/json\" id=\"{id}\">";
        var start = html.IndexOf(open, StringComparison.Ordinal) + open.Length;
        return html[start..html.IndexOf("</script>", start, StringComparison.Ordinal)];
    }

    [GeneratedRegex("</script")]
    private static partial Regex ScriptEnd();

    [GeneratedRegex("Content-Security-Policy\" content=\"([^\"]*)\"")]
    private static partial Regex Policy();
}

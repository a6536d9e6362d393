using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector info</c>: what a vector file holds, where it came from and what it claims.</summary>
internal static class VectorInfoCommand
{
    internal sealed record Options(string File, int Top, bool Json);

    public static Command Build(CommandConsole console)
    {
        var file = SingleOptions.File("A .ysv or control-vector GGUF; a bare name is also looked for in the model folders.");
        var top = new Option<int>("--top")
        {
            Description = "How many features of each sparse vector to show, largest |value| first.",
            DefaultValueFactory = _ => 10,
            HelpName = "N",
        }.Within(0, int.MaxValue);
        var json = SingleOptions.Json();
        var command = new Command("info", "Show what a vector file holds, where it came from and what it claims.") { file, top, json };
        return command.Handle(console, parsed => new Options(parsed.GetRequiredValue(file), parsed.GetValue(top), parsed.GetValue(json)), HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        options = options with { File = ModelLocator.Create().ResolveVector(options.File) };
        var file = SteeringFile.Load(options.File);
        if (options.Json)
        {
            console.WriteJson(Document(options, file));
        }
        else
        {
            Show(console, options, file);
        }

        return Task.FromResult(ExitCodes.Success);
    }

    private static object Document(Options options, SteeringFile file) => new
    {
        options.File,
        file.Name,
        file.Description,
        file.License,
        file.Author,
        Bytes = new FileInfo(options.File).Length,
        Sha256 = SteeringFile.Sha256(options.File),
        file.Base,
        file.DModel,
        file.Train,
        file.Parents,
        Evidence = ParseOrNull(file.Evidence),
        Vectors = file.Vectors.Select(v => new
        {
            v.Name,
            Kind = KindOf(v),
            v.Layer,
            v.Operator,
            v.PositiveMeans,
            Positions = v.Positions.ToString(),
            Strength = new { Recommended = v.RecommendedStrength, Min = v.MinStrength, Max = v.MaxStrength },
            K = v.Kind == VectorKind.Sparse ? v.K : (int?)null,
            Sae = v.Sae is { } s ? new { s.Width, s.Name, Activation = SaeActivationName.Of(s.Activation), s.TopK, s.Source, s.Sha256, s.License, s.Attribution } : null,
            v.NegativeMass,
            Norm = Norm(v.Value),
            FlattenedNorm = Norm(v.Flatten()),
            v.HNormMean,
            Features = Largest(v, options.Top).Select(j => new { Index = v.Index[j], Value = v.Value[j], Threshold = v.Threshold[j], Rate = v.Rate?[j], Max = v.Max?[j], Label = v.Labels?[j] }),
        }),
    };

    private static void Show(CommandConsole console, Options options, SteeringFile file)
    {
        console.WriteList(
        [
            ("file", $"{Paths.Short(options.File)}, {Sizes.Text(new FileInfo(options.File).Length)}"),
            ("name", Given(file.Name)),
            ("description", Given(file.Description)),
            ("author", Given(file.Author)),
            ("license", Given(file.License)),
            ("base model", Given(string.Join(", ", new[] { file.Base.Architecture, file.Base.Name, file.Base.Quantization }.Where(t => t.Length > 0)))),
            ("base fingerprint", Given(file.Base.Fingerprint)),
            ("d_model", $"{file.DModel}"),
            ("trained by", file.Train is { } t ? string.Join(", ", new[] { t.Method, t.Engine, t.Seed is { } s ? $"seed {s}" : "" }.Where(x => x.Length > 0)) : null),
            ("made from", file.Parents.Count > 0 ? string.Join(", ", file.Parents) : null),
        ]);
        console.Out.WriteLine();
        console.WriteTable(
            ["vector", "kind", "layer", "K of F", "strength", "positions", "negative"],
            file.Vectors.Select(v => (IReadOnlyList<string>)
            [
                v.Name, KindOf(v), $"{v.Layer}", v.Sae is { } sae ? $"{v.K} of {sae.Width}" : "dense", StrengthOf(v), v.Positions.ToString(), Percent(v.NegativeMass),
            ]));
        foreach (var v in file.Vectors)
        {
            console.Out.WriteLine();
            console.WriteList(
            [
                (v.Name, v.PositiveMeans.Length > 0 ? $"positive strength means {v.PositiveMeans}" : "does not say what positive strength does"),
                ("  norm", Norms(v)),
                ("  SAE", v.Sae is { } sae ? string.Join(", ", new[] { sae.Name, $"{SaeActivationName.Of(sae.Activation)}{(sae.TopK > 0 ? $" {sae.TopK}" : "")}", Short(sae.Source), sae.Sha256 }.Where(t => t.Length > 0)) : null),
                ("  SAE license", Given(v.Sae?.License ?? "")),
                ("  SAE credit", Given(v.Sae?.Attribution ?? "")),
            ]);
        }

        Section(console, "trained with", file.Train?.Config ?? "");
        Section(console, "evidence, as the file reports it about itself", file.Evidence);
        foreach (var v in file.Vectors.Where(v => v.K > 0 && options.Top > 0))
        {
            console.Out.WriteLine();
            console.Out.WriteLine($"{v.Name}: the {Math.Min(options.Top, v.K)} largest of {v.K} features");
            console.WriteTable(
                ["feature", "value", "threshold", "fires on", "max seen", "label"],
                Largest(v, options.Top).Select(j => (IReadOnlyList<string>)
                [
                    $"{v.Index[j]}", Sizes.Real(v.Value[j]), Sizes.Real(v.Threshold[j]), v.Rate is null ? "" : Percent(v.Rate[j]),
                    v.Max is null ? "" : Sizes.Real(v.Max[j]), v.Labels?[j] ?? "",
                ]));
        }
    }

    private static void Section(CommandConsole console, string title, string json)
    {
        var rows = JsonSummary.Rows(json).Select(row => (row.Name, (string?)row.Text)).ToList();
        if (rows.Count > 0)
        {
            console.Out.WriteLine();
            console.Out.WriteLine(title);
            console.WriteList(rows);
        }
    }

    // An SAE trained here carries its settings, which fill a screen; --json has them.
    private static string Short(string source) => source.IndexOf(" {", StringComparison.Ordinal) is > 0 and var end ? source[..end] : source;

    private static IEnumerable<int> Largest(SteeringVector v, int count) =>
        Enumerable.Range(0, v.K).OrderByDescending(j => Math.Abs(v.Value[j])).ThenBy(j => j).Take(count);

    private static string KindOf(SteeringVector v) => v.Kind == VectorKind.Sparse ? "sparse" : "dense";

    /// <summary>‖v‖, the length of its flattened direction, and what that is of ‖h‖ at the recommended strength.</summary>
    private static string Norms(SteeringVector v)
    {
        var flattened = Norm(v.Flatten());
        var own = v.Kind == VectorKind.Sparse ? $"‖v‖ {Sizes.Real(Norm(v.Value))}, ‖flattened‖ {Sizes.Real(flattened)}" : $"‖v‖ {Sizes.Real(flattened)}";
        return own + (v.HNormMean is { } h && h > 0 ? $", at the recommended strength {Percent(Math.Abs(v.RecommendedStrength) * flattened / h)} of the mean ‖h‖ {Sizes.Real(h)}" : "");
    }

    private static string StrengthOf(SteeringVector v)
    {
        var range = v.MinStrength is { } min && v.MaxStrength is { } max ? $" ({Sizes.Real(min)} to {Sizes.Real(max)})" : "";
        return Sizes.Real(v.RecommendedStrength) + range;
    }

    private static string Percent(double share) => (100 * share).ToString("0.0", CultureInfo.InvariantCulture) + " %";

    private static double Norm(float[] values) => Math.Sqrt(values.Sum(x => (double)x * x));

    private static string? Given(string text) => text.Length > 0 ? text : null;

    private static JsonElement? ParseOrNull(string json)
    {
        if (json.Length == 0)
        {
            return null;
        }

        using var document = JsonDocument.Parse(json); // validated when the file was read
        return document.RootElement.Clone();
    }
}

using System.CommandLine;
using System.Globalization;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector diff</c>: in what two vector files differ.</summary>
internal static class VectorDiffCommand
{
    private const int LongestField = 64; // a SHA-256

    internal sealed record Options(string A, string B, int Top, bool Json);

    public static Command Build(CommandConsole console)
    {
        var a = new Argument<string>("A") { Description = "A .ysv or control-vector GGUF; a bare name is also looked for in the model folders." };
        var b = new Argument<string>("B") { Description = "Another one." };
        var top = new Option<int>("--top")
        {
            Description = "How many features to show per pair, largest difference first.",
            DefaultValueFactory = _ => 10,
            HelpName = "N",
        }.Within(0, int.MaxValue);
        var json = SingleOptions.Json();
        var command = new Command("diff", "Compare two vector files: fields, supports, directions, features.") { a, b, top, json };
        return command.Handle(console, parsed => new Options(parsed.GetRequiredValue(a), parsed.GetRequiredValue(b), parsed.GetValue(top), parsed.GetValue(json)), HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var locator = ModelLocator.Create();
        options = options with { A = locator.ResolveVector(options.A), B = locator.ResolveVector(options.B) };
        var (a, b) = (SteeringFile.Load(options.A), SteeringFile.Load(options.B));
        var fields = VectorDifference.Fields(a, b);
        var (pairs, onlyA, onlyB) = VectorDifference.Of(a, b);
        if (options.Json)
        {
            console.WriteJson(new
            {
                options.A,
                options.B,
                SameBytes = SteeringFile.Sha256(options.A) == SteeringFile.Sha256(options.B),
                Fields = fields,
                Vectors = pairs.Select(p => new
                {
                    A = Describe(p.A),
                    B = Describe(p.B),
                    Fields = VectorDifference.Fields(p.A, p.B),
                    p.Comparable,
                    Support = p.Jaccard is { } jaccard ? new { p.Common, p.OnlyA, p.OnlyB, Jaccard = jaccard } : null,
                    Cosine = new { Latent = p.LatentCosine, Flattened = p.FlattenedCosine },
                    Features = p.Largest.Take(options.Top).Select(f => new { f.Index, f.A, f.B, Label = f.Label.Length > 0 ? f.Label : null }),
                }),
                OnlyA = onlyA.Select(Describe),
                OnlyB = onlyB.Select(Describe),
            });
        }
        else
        {
            Show(console, options, fields, pairs, onlyA, onlyB);
        }

        return Task.FromResult(ExitCodes.Success);
    }

    private static void Show(
        CommandConsole console, Options options, IReadOnlyList<FieldDifference> fields, IReadOnlyList<VectorDifference> pairs, IReadOnlyList<SteeringVector> onlyA, IReadOnlyList<SteeringVector> onlyB)
    {
        console.Out.WriteLine($"A  {Paths.Short(options.A)}");
        console.Out.WriteLine($"B  {Paths.Short(options.B)}");
        ShowFields(console, fields);
        foreach (var p in pairs)
        {
            console.Out.WriteLine();
            console.Out.WriteLine($"layer {p.A.Layer}: {p.A.Name} against {p.B.Name}");
            console.WriteList(
            [
                ("support", p.Jaccard is { } j ? $"{p.Common} common, {p.OnlyA} only in A, {p.OnlyB} only in B (Jaccard {Number(j)})" : p.Comparable ? null : "not comparable: another kind or another SAE"),
                ("cosine in latents", p.LatentCosine is { } latent ? Number(latent) : null),
                ("cosine flattened", p.FlattenedCosine is { } flattened ? Number(flattened) : null),
                ("‖flattened‖", $"{Sizes.Real(Norm(p.A.Flatten()))} and {Sizes.Real(Norm(p.B.Flatten()))}"),
                ("negative mass", $"{Number(100 * p.A.NegativeMass)} % and {Number(100 * p.B.NegativeMass)} %"),
            ]);
            ShowFields(console, VectorDifference.Fields(p.A, p.B));
            if (p.Largest.Count > 0 && options.Top > 0)
            {
                console.WriteTable(
                    ["feature", "A", "B", "label"],
                    p.Largest.Take(options.Top).Select(f => (IReadOnlyList<string>)[$"{f.Index}", Sizes.Real(f.A), Sizes.Real(f.B), f.Label]));
            }
        }

        foreach (var (name, v) in onlyA.Select(v => ("A", v)).Concat(onlyB.Select(v => ("B", v))))
        {
            console.Out.WriteLine($"only in {name}: {v.Name}, layer {v.Layer}");
        }
    }

    private static void ShowFields(CommandConsole console, IReadOnlyList<FieldDifference> fields)
    {
        if (fields.Count > 0)
        {
            console.WriteTable(["field", "A", "B"], fields.Select(f => (IReadOnlyList<string>)[f.Name, Short(f.A), Short(f.B)]));
        }
    }

    // Evidence and training settings are long; --json has them whole.
    private static string Short(string text) => text.Length <= LongestField ? text : $"{text[..LongestField]}…";

    private static object Describe(SteeringVector v) => new
    {
        v.Name,
        v.Layer,
        Kind = v.Kind == VectorKind.Sparse ? "sparse" : "dense",
        K = v.Kind == VectorKind.Sparse ? v.K : (int?)null,
        v.NegativeMass,
        Norm = Norm(v.Value),
        FlattenedNorm = Norm(v.Flatten()),
    };

    private static double Norm(float[] values) => Math.Sqrt(values.Sum(x => (double)x * x));

    private static string Number(double value) => value.ToString("0.####", CultureInfo.InvariantCulture);
}

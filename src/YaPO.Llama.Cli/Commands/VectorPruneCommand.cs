using System.CommandLine;
using System.Globalization;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector prune</c>: fewer features, and what that costs.</summary>
internal static class VectorPruneCommand
{
    internal sealed record Options(string File, int? TopK, double? Mass, double? Kl, NeutralTextSettings Text, string Output, bool Json);

    public static Command Build(CommandConsole console)
    {
        var file = SingleOptions.File("A .ysv with sparse vectors; a bare name is also looked for in the model folders.");
        var topK = new Option<int?>("--top-k") { Description = "Keep this many features of each sparse vector (default: none; give one of --top-k, --mass, --kl).", HelpName = "N" }.Within(1, int.MaxValue);
        var mass = new Option<double?>("--mass") { Description = "Keep the fewest features that hold this share of the effect, 0 to 1 (default: none).", HelpName = "X" }.Within(1e-9, 1);
        var kl = new Option<double?>("--kl")
        {
            Description = "Keep the fewest features whose next-token distributions on --data stay this near the unpruned vector's, nats per token, by bisection (default: none).",
            HelpName = "NATS",
        }.Within(0, 1e6);
        var text = new NeutralTextOptions();
        var output = SingleOptions.Output("Vector file (.ysv)");
        var json = SingleOptions.Json();
        var command = new Command("prune", "Drop the features that do least, and say what is lost and what is saved.") { file, topK, mass, kl, output };
        text.AddTo(command);
        command.Options.Add(json);
        command.Validators.Add(result =>
        {
            // Asking for the value of one that does not parse would throw; the parser reports it anyway.
            if (new Option[] { topK, mass, kl }.Count(o => result.GetResult(o) is not null) != 1)
            {
                result.AddError("give exactly one of --top-k, --mass and --kl");
            }
            else if (result.GetResult(kl) is not null && !text.Given(result))
            {
                result.AddError("--kl needs --model and --data to measure on");
            }
        });
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(file), parsed.GetValue(topK), parsed.GetValue(mass), parsed.GetValue(kl), text.Read(parsed), parsed.GetRequiredValue(output), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var path = ModelLocator.Create().ResolveVector(options.File);
        OutputFile.Require(options.Output, path, options.Text.Model, options.Text.Data);
        var file = SteeringFile.Load(path);
        var most = file.Vectors.Max(v => v.K);
        if (most == 0)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{path} holds dense vectors only; there are no features to drop");
        }

        using var measurement = options.Text.IsGiven ? PruneMeasurement.Open(options.Text, path, console, cancellation) : null;
        var count = options.Kl is { } budget ? Bisect(file, most, budget, measurement!, console, cancellation) : options.TopK;
        var pruned = file.Vectors.Select(v => v.K == 0 ? null : VectorPruning.KeepTop(v, count ?? VectorPruning.CountForMass(v, options.Mass!.Value))).ToList();
        var result = file with
        {
            Vectors = [.. pruned.Zip(file.Vectors, (p, v) => p?.Kept ?? v)],
            Parents = [SteeringFile.Sha256(path)],
            Evidence = "", // was measured on the unpruned file
        };
        var distance = measurement?.Distance(result.Vectors, cancellation);
        cancellation.ThrowIfCancellationRequested();
        result.Save(options.Output);
        Report(console, options, path, file, [.. pruned.OfType<PrunedVector>()], distance);
        return Task.FromResult(ExitCodes.Success);
    }

    private static int Bisect(SteeringFile file, int most, double budget, PruneMeasurement measurement, CommandConsole console, CancellationToken cancellation)
    {
        var done = 0;
        using var progress = console.Progress("pruning", (long)Math.Ceiling(Math.Log2(most)), "supports");
        return VectorPruning.CountForDivergence(most, budget, count =>
        {
            var kl = measurement.Distance(file.Vectors.Select(v => v.K == 0 ? v : VectorPruning.KeepTop(v, count).Kept), cancellation).Kl;
            progress.Report(++done, $"{count} features: {Sizes.Real(kl)} nats");
            return kl;
        });
    }

    private static void Report(CommandConsole console, Options options, string path, SteeringFile file, List<PrunedVector> pruned, SteeringDistance? distance)
    {
        var before = file.Vectors.Where(v => v.K > 0).ToList();
        var (bytesBefore, bytesAfter) = (new FileInfo(path).Length, new FileInfo(options.Output).Length);
        if (options.Json)
        {
            console.WriteJson(new
            {
                options.Output,
                Sha256 = SteeringFile.Sha256(options.Output),
                Bytes = new { Before = bytesBefore, After = bytesAfter },
                Vectors = pruned.Zip(before, (p, v) => new
                {
                    p.Kept.Name,
                    p.Kept.Layer,
                    K = new { Before = v.K, After = p.Kept.K },
                    RankedBy = p.Ranking == FeatureRanking.Effect ? "effect" : "magnitude",
                    EffectKept = p.ScoreShare,
                    NegativeMass = new { Before = v.NegativeMass, After = p.Kept.NegativeMass },
                    FlattenedLost = p.FlattenedGap,
                }),
                Measured = distance is null ? null : new
                {
                    distance.Tokens,
                    KlPerToken = distance.Kl,
                    Layers = distance.Layers.Select(l => new { l.Layer, ChangeMean = l.Change, ChangeLost = l.Gap }),
                },
            });
            return;
        }

        console.WriteTable(
            ["vector", "layer", "features", "of the effect", "negative mass", "‖flattened‖ lost"],
            pruned.Zip(before, (p, v) => (IReadOnlyList<string>)
            [
                p.Kept.Name, $"{p.Kept.Layer}", $"{v.K} to {p.Kept.K}", Percent(p.ScoreShare), $"{Percent(v.NegativeMass)} to {Percent(p.Kept.NegativeMass)}", Percent(p.FlattenedGap),
            ]));
        console.Out.WriteLine(pruned[0].Ranking == FeatureRanking.Effect
            ? "ranked by effect at the recommended strength: mean |c| times the decoder row's length, from the recorded firing rates"
            : "ranked by |v| times the decoder row's length; firing rates are not recorded");
        if (distance is not null)
        {
            console.Out.WriteLine($"on {distance.Tokens} tokens: KL {Sizes.Real(distance.Kl)} nats per token from the unpruned vector; "
                + string.Join(", ", distance.Layers.Select(l => $"layer {l.Layer} loses {Percent(l.Gap)} of its ‖Δh‖ (mean {Sizes.Real(l.Change)})")));
        }

        console.Out.WriteLine($"wrote {options.Output}, {Sizes.Text(bytesAfter)} instead of {Sizes.Text(bytesBefore)}");
    }

    private static string Percent(double share) => (100 * share).ToString("0.0", CultureInfo.InvariantCulture) + " %";

    /// <summary>The model, the text and the unpruned vector to compare with.</summary>
    private sealed class PruneMeasurement : IDisposable
    {
        private readonly SteeredModel _model;
        private readonly SteeringDistanceMeter _meter;

        private PruneMeasurement(SteeredModel model, SteeringDistanceMeter meter) => (_model, _meter) = (model, meter);

        public static PruneMeasurement Open(NeutralTextSettings text, string path, CommandConsole console, CancellationToken cancellation)
        {
            var model = SteeredModel.Open(new SteeringSettings(text.Model, null, [path], AllowMismatch: false), text.Engine, console, cancellation);
            try
            {
                return new PruneMeasurement(model, new SteeringDistanceMeter(model.Model, text.Windows(model.Model), model.Vectors[0].Source.Settings, model.ContextFor(1).Threads));
            }
            catch
            {
                model.Dispose();
                throw;
            }
        }

        public SteeringDistance Distance(IEnumerable<SteeringVector> vectors, CancellationToken cancellation) => _meter.Measure([.. vectors.Select(_model.Vectors[0].Source.SettingOf)], cancellation);

        public void Dispose()
        {
            _meter.Dispose();
            _model.Dispose();
        }
    }
}

using System.CommandLine;
using System.Globalization;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Training.Residuals;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector export</c>: vectors for other tools, and what they lose on the way.</summary>
internal static class VectorExportCommand
{
    internal sealed record Options(string File, string To, NeutralTextSettings Text, string Output, bool Json);

    public static Command Build(CommandConsole console)
    {
        var file = SingleOptions.File("A .ysv or control-vector GGUF; a bare name is also looked for in the model folders.");
        var to = new Option<string>("--to")
        {
            Description = "Format to write (required): control-vector (GGUF for llama.cpp, flattened at the recommended strength), safetensors or npz (v and its feature ids, to be used with the SAE).",
            Required = true,
            HelpName = "FORMAT",
        }.OneOf("control-vector", "safetensors", "npz");
        var text = new NeutralTextOptions();
        var output = SingleOptions.Output("File");
        var json = SingleOptions.Json();
        var command = new Command("export", "Write a vector for other tools, and say what it loses there.") { file, to, output };
        text.AddTo(command);
        command.Options.Add(json);
        return command.Handle(
            console,
            parsed => new Options(parsed.GetRequiredValue(file), parsed.GetRequiredValue(to), text.Read(parsed), parsed.GetRequiredValue(output), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var path = ModelLocator.Create().ResolveVector(options.File);
        OutputFile.Require(options.Output, path, options.Text.Model, options.Text.Data);
        var file = SteeringFile.Load(path);
        IReadOnlyList<string> warnings = [];
        FlatteningLoss? loss = null;
        if (options.To == "control-vector")
        {
            warnings = Warnings(file);
            loss = options.Text.IsGiven ? Measure(options.Text, path, file, console, cancellation) : null;
            VectorExport.ControlVector(file, options.Output);
        }
        else if (options.To == "safetensors")
        {
            VectorExport.Safetensors(file, options.Output);
        }
        else
        {
            VectorExport.Npz(file, options.Output);
        }

        Report(console, options, file, warnings, loss);
        return Task.FromResult(ExitCodes.Success);
    }

    /// <summary>What a control vector cannot express, whatever the model.</summary>
    private static List<string> Warnings(SteeringFile file)
    {
        var warnings = new List<string>();
        foreach (var v in file.Vectors.Where(v => v.K > 0))
        {
            var share = v.RecommendedStrength < 0 ? 1 - v.NegativeMass : v.NegativeMass;
            if (share > 0)
            {
                warnings.Add($"{v.Name} is flattened: {Percent(share)} of its mass turns features down, which stops where a feature is off; a control vector goes on subtracting");
            }
        }

        warnings.Add("a control vector acts at every position, BOS included, whatever positions the vector was trained with");
        var strengths = string.Join(", ", file.Vectors.Select(v => Sizes.Real(v.RecommendedStrength)).Distinct());
        warnings.Add($"the recommended strength ({strengths}) is part of the directions: use llama.cpp's scale 1");
        return warnings;
    }

    private static FlatteningLoss Measure(NeutralTextSettings text, string path, SteeringFile file, CommandConsole console, CancellationToken cancellation)
    {
        using var model = SteeredModel.Open(new SteeringSettings(text.Model, null, [path], AllowMismatch: false), text.Engine, console, cancellation);
        var windows = text.Windows(model.Model);
        var threads = model.ContextFor(1).Threads;
        var reference = model.Vectors[0].Source.Settings;
        var flattened = file.Vectors.Select(v => SteeringSetting.Create(VectorBuilder.Dense(v.Flatten(), v.Layer, v.Name), v.RecommendedStrength)).ToList();
        using var meter = new SteeringDistanceMeter(model.Model, windows, reference, threads);
        var distance = meter.Measure(flattened, cancellation);
        return new FlatteningLoss(distance, [.. file.Vectors.Where(v => v.K > 0 && v.Sae!.Activation != SaeActivation.TopK).Select(v => (v, Impact(model.Model, v, windows, threads, cancellation)))]);
    }

    /// <summary>On the residuals of the unsteered model, BOS left out.</summary>
    private static SteeringImpact Impact(LlamaModel model, SteeringVector v, List<int[]> windows, int threads, CancellationToken cancellation)
    {
        var d = model.Info.ModelWidth;
        using var capture = new ResidualCapture(model, v.Layer, windows.Max(w => w.Length), threads);
        var rows = new List<float>();
        var buffer = new float[capture.MaxTokens * d];
        foreach (var window in windows)
        {
            var residuals = buffer.AsSpan(0, window.Length * d);
            capture.Run(window, residuals, cancellation);
            rows.AddRange(residuals[(window[0] == model.Info.BosToken ? d : 0)..]);
        }

        var latents = new LatentRows(v.Index, v.Enc, v.EncBias, v.Threshold, v.Dec, d);
        return SteeringImpact.Measure(latents, v.Value, v.RecommendedStrength, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(rows), Math.Max(1, threads));
    }

    private static void Report(CommandConsole console, Options options, SteeringFile file, IReadOnlyList<string> warnings, FlatteningLoss? loss)
    {
        var bytes = new FileInfo(options.Output).Length;
        if (options.Json)
        {
            console.WriteJson(new
            {
                options.Output,
                options.To,
                Bytes = bytes,
                Sha256 = SteeringFile.Sha256(options.Output),
                Vectors = file.Vectors.Select(v => new { v.Name, v.Layer, K = v.K > 0 ? v.K : (int?)null, v.NegativeMass, Strength = v.RecommendedStrength }),
                Warnings = warnings,
                Lost = loss is null ? null : new
                {
                    loss.Distance.Tokens,
                    KlPerToken = loss.Distance.Kl,
                    Layers = loss.Distance.Layers.Select(l => new { l.Layer, ChangeMean = l.Change, FlattenGap = l.Gap }),
                    Vectors = loss.Vectors.Select(x => new { x.Vector.Name, ChangeMean = x.Impact.DeltaMean, FlattenGap = x.Impact.FlattenGap, ClippedTokens = x.Impact.ClippedRows, x.Impact.UnspentNegative }),
                },
            });
            return;
        }

        foreach (var warning in warnings)
        {
            console.Warn(warning);
        }

        foreach (var (v, impact) in loss?.Vectors ?? [])
        {
            console.Out.WriteLine($"{v.Name}: ‖YaPO − flattened‖ is {Percent(impact.FlattenGap)} of ‖Δh‖ (mean {Sizes.Real(impact.DeltaMean)}); an active feature is clipped on {Percent(impact.ClippedRows)} of tokens; "
                + $"{Percent(impact.UnspentNegative)} of what the flattened form subtracts is not there to be removed");
        }

        if (loss is not null)
        {
            var layers = string.Join(", ", loss.Distance.Layers.Select(l => $"layer {l.Layer} differs by {Percent(l.Gap)} of its ‖Δh‖"));
            console.Out.WriteLine($"on {loss.Distance.Tokens} tokens: KL {Sizes.Real(loss.Distance.Kl)} nats per token between the vectors and their flattened form; {layers}");
        }

        console.Out.WriteLine($"wrote {options.Output}, {Sizes.Text(bytes)}");
    }

    private static string Percent(double share) => (100 * share).ToString("0.0", CultureInfo.InvariantCulture) + " %";

    private sealed record FlatteningLoss(SteeringDistance Distance, IReadOnlyList<(SteeringVector Vector, SteeringImpact Impact)> Vectors);
}

using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>sae convert</c>: a published SAE as our GGUF.</summary>
internal static class SaeConvertCommand
{
    internal sealed record Options(string Input, string Output, string Format, string Type, int? Layer, int? TopK, double? InputScale, string? Model, string? Text, EngineSettings Engine, bool Json);

    public static Command Build(CommandConsole console)
    {
        var input = new Option<string>("--input", "-i") { Description = "Published SAE: its weights (.npz, .safetensors, .pt), or the folder that holds them and their config (required).", Required = true, HelpName = "PATH" };
        var output = SingleOptions.Output("SAE GGUF");
        var format = new Option<string>("--format") 
        {
            Description = $"Format of the input: {string.Join(", ", SaeConverter.Formats)}, or auto, which looks at tensors and config.",
            DefaultValueFactory = _ => "auto",
            HelpName = "FORMAT",
        }.OneOf(["auto", .. SaeConverter.Formats]);
        var type = new Option<string>("--type")
        {
            Description = "Storage of the decoder rows: f32, f16 or q8_0. Rounding changes by how much a feature acts, never when; encoder rows stay f32.",
            DefaultValueFactory = _ => "f32",
            HelpName = "TYPE",
        }.OneOf("f32", "f16", "q8_0");
        var layer = new Option<int?>("--layer") { Description = "Zero-based block whose output the SAE reads (default: what path or config say).", HelpName = "L" }.Within(0, 100_000);
        var topK = new Option<int?>("--top-k", "--k") { Description = "k of a TopK SAE (default: what path or config say).", HelpName = "K" }.Within(1, 1 << 26);
        var inputScale = new Option<double?>("--input-scale")
        {
            Description = "c where the SAE was trained on c times the residual and does not say so (SAELens expected_average_only_in): √d_model / mean residual norm (default: none).",
            HelpName = "C",
        }.Within(1e-9, 1e9);
        var model = new Option<string?>("--model", "-m")
        {
            Description = "GGUF model to record as base, and to check the SAE on: explained variance, active features against the published number (default: none, no check).",
            HelpName = "FILE",
        };
        var text = new Option<string?>("--text", "--data") { Description = "Text file for the check (default: built-in English prose).", HelpName = "FILE" };
        var engine = new EngineOptions();
        var json = SingleOptions.Json();
        var command = new Command("convert", "Convert a published SAE to GGUF, and check it on a model.") { input, output, format, type, layer, topK, inputScale, model, text };
        engine.AddTo(command, withContext: false);
        command.Options.Add(json);
        command.Validators.Add(result => result.RequireBeside(result.GetValue(model) is null, "--model FILE, on which the SAE is checked", text));
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(input), parsed.GetRequiredValue(output), parsed.GetValue(format)!, parsed.GetValue(type)!, parsed.GetValue(layer),
                parsed.GetValue(topK), parsed.GetValue(inputScale),
                parsed.GetValue(model), parsed.GetValue(text), engine.Read(parsed), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        OutputFile.Require(options.Output, options.Input, options.Model);
        var text = SaeFitRun.ReadText(options.Text); // before the conversion, which may take long
        var model = options.Model is { } path ? ModelFingerprint.Compute(path) : null;
        SaeInfo info;
        using (var progress = console.Progress("converting", 1000, "‰"))
        {
            var conversion = new SaeConvertOptions(options.Input, options.Output)
            {
                Format = options.Format,
                Layer = options.Layer,
                TopK = options.TopK,
                InputScale = options.InputScale,
                DecType = options.Type switch { "f32" => GgmlType.F32, "f16" => GgmlType.F16, _ => GgmlType.Q8_0 },
                Model = model,
                Progress = new ProgressRelay<double>(done => progress.Report((long)(1000 * done))),
            };
            info = await Task.Run(() => SaeConverter.Convert(conversion, cancellation), CancellationToken.None).ConfigureAwait(false);
        }

        var fit = options.Model is null ? null : Check(options, text, console, cancellation);
        var bytes = new FileInfo(options.Output).Length;
        if (options.Json)
        {
            console.WriteJson(new { options.Output, Bytes = bytes, info.Name, info.Layer, info.DModel, info.Width, Activation = SaeActivationName.Of(info.Activation), Topk = info.TopK > 0 ? info.TopK : (int?)null, options.Type, info.AverageL0, info.Conversion, Fit = SaeFitRun.Document(fit) });
        }
        else
        {
            console.Out.WriteLine($"wrote {options.Output}, {Sizes.Text(bytes)}: {info.Width} features of layer {info.Layer}, d_model {info.DModel}");
            if (fit is not null)
            {
                SaeFitRun.Show(console, fit);
            }
        }

        return SaeFitRun.ExitCode(fit);
    }

    private static SaeFitResult Check(Options options, string? text, CommandConsole console, CancellationToken cancellation)
    {
        using var sae = SaeFile.Open(options.Output);
        return SaeFitRun.Run(sae, options.Model!, text, options.Engine, console, cancellation);
    }
}

using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>sae convert</c>: a published SAE as our GGUF.</summary>
internal static class SaeConvertCommand
{
    internal sealed record Options(string Input, string Output, string Format, string Type, int? Layer, string? Model, string? Text, EngineSettings Engine, bool Json);

    public static Command Build(CommandConsole console)
    {
        var input = new Option<string>("--input", "-i") { Description = "Gemma Scope params.npz, or the folder that holds it (required).", Required = true, HelpName = "PATH" };
        var output = SingleOptions.Output("SAE GGUF");
        var format = new Option<string>("--format") { Description = "Format of the input: auto or gemma-scope.", DefaultValueFactory = _ => "auto", HelpName = "FORMAT" }
            .OneOf("auto", "gemma-scope");
        var type = new Option<string>("--type")
        {
            Description = "Storage of the decoder rows: f32, f16 or q8_0. Rounding changes by how much a feature acts, never when; encoder rows stay f32.",
            DefaultValueFactory = _ => "f32",
            HelpName = "TYPE",
        }.OneOf("f32", "f16", "q8_0");
        var layer = new Option<int?>("--layer") { Description = "Zero-based block whose output the SAE reads (default: from the path's layer_N).", HelpName = "L" }.Within(0, 100_000);
        var model = new Option<string?>("--model", "-m")
        {
            Description = "GGUF model to record as base, and to check the SAE on: explained variance, active features against the published number (default: none, no check).",
            HelpName = "FILE",
        };
        var text = new Option<string?>("--text") { Description = "Text file for the check (default: built-in English prose).", HelpName = "FILE" };
        var engine = new EngineOptions();
        var json = SingleOptions.Json();
        var command = new Command("convert", "Convert a published SAE to GGUF, and check it on a model.") { input, output, format, type, layer, model, text };
        engine.AddTo(command, withContext: false);
        command.Options.Add(json);
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(input), parsed.GetRequiredValue(output), parsed.GetValue(format)!, parsed.GetValue(type)!, parsed.GetValue(layer),
                parsed.GetValue(model), parsed.GetValue(text), engine.Read(parsed), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        OutputFile.Require(options.Output, options.Input, options.Model);
        if (options.Format == "auto" && Path.Exists(options.Input) && !GemmaScopeConverter.Recognizes(options.Input))
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{options.Input} is in no format that is known; expected a Gemma Scope params.npz, or the folder that holds it");
        }

        var text = SaeFitRun.ReadText(options.Text); // before the conversion, which may take long
        var model = options.Model is { } path ? ModelFingerprint.Compute(path) : null;
        SaeInfo info;
        using (var progress = console.Progress("converting", 1000, "‰"))
        {
            var conversion = new GemmaScopeOptions(options.Input, options.Output)
            {
                Layer = options.Layer,
                DecType = options.Type switch { "f32" => GgmlType.F32, "f16" => GgmlType.F16, _ => GgmlType.Q8_0 },
                Model = model,
                Progress = new ProgressRelay<double>(done => progress.Report((long)(1000 * done))),
            };
            info = await Task.Run(() => GemmaScopeConverter.Convert(conversion, cancellation), CancellationToken.None).ConfigureAwait(false);
        }

        var fit = options.Model is null ? null : Check(options, text, console, cancellation);
        var bytes = new FileInfo(options.Output).Length;
        if (options.Json)
        {
            console.WriteJson(new { options.Output, Bytes = bytes, info.Name, info.Layer, info.DModel, info.Width, options.Type, info.AverageL0, info.Conversion, Fit = SaeFitRun.Document(fit) });
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

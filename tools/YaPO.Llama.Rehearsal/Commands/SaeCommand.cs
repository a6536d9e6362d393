using System.CommandLine;
using System.Globalization;
using YaPO.Llama.Rehearsal.Weights;

namespace YaPO.Llama.Rehearsal.Commands;

/// <summary>`sae`: an SAE file of true size for a model.</summary>
internal static class SaeCommand
{
    public static Command Build()
    {
        var model = new Option<string>("--model") { Description = "The model it shall fit.", Required = true };
        var layer = new Option<int>("--layer") { Description = "Zero-based block number.", Required = true };
        var width = new Option<int>("--width") { Description = "Latents: 16384 and 65536 are Gemma Scope's usual widths.", DefaultValueFactory = _ => 16384 };
        var l0 = new Option<double>("--l0") { Description = "Latents that fire per token.", DefaultValueFactory = _ => 70 };
        var output = new Option<string>("--output") { Description = "SAE GGUF to write.", Required = true };
        var command = new Command("sae", "Writes an SAE of true size with random directions and a measured threshold.") { model, layer, width, l0, ModelCommand.Seed, output };
        command.SetAction((result, cancellation) =>
        {
            var path = result.GetValue(output)!;
            var threshold = SaeRehearsal.Write(
                result.GetValue(model)!, result.GetValue(layer), result.GetValue(width), result.GetValue(l0), result.GetValue(ModelCommand.Seed), path, new PercentLine(path).Report, cancellation);
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"threshold {threshold:0.###}"));
            return Task.FromResult(0);
        });
        return command;
    }
}

using System.CommandLine;
using YaPO.Llama.Rehearsal.Shapes;
using YaPO.Llama.Rehearsal.Weights;

namespace YaPO.Llama.Rehearsal.Commands;

/// <summary>`model`: a model file of true shape.</summary>
internal static class ModelCommand
{
    internal static Option<ulong> Seed { get; } = new("--seed") { Description = "Seed of the weights.", DefaultValueFactory = _ => 1 };

    public static Command Build()
    {
        var shape = new Option<string>("--shape") { Description = string.Join(", ", ModelShape.All.Select(s => s.Name)) + ".", Required = true };
        var type = new Option<string>("--type") { Description = string.Join(", ", QuantizationMix.Names) + ".", DefaultValueFactory = _ => "q4_k_m" };
        var layers = new Option<int?>("--layers") { Description = "Blocks instead of the shape's, for a shorter rehearsal." };
        var output = new Option<string>("--output") { Description = "GGUF to write.", Required = true };
        var command = new Command("model", "Writes a model of true shape, vocabulary size and quantization mix.") { shape, type, layers, Seed, output };
        command.SetAction((result, cancellation) =>
        {
            var chosen = ModelShape.Parse(result.GetValue(shape)!);
            if (result.GetValue(layers) is { } n)
            {
                chosen = n >= 1 ? chosen with { Layers = n } : throw new YapoException(YapoErrorKind.InvalidArgument, $"--layers must be at least 1, found {n}");
            }

            var path = result.GetValue(output)!;
            ModelFile.Write(chosen, result.GetValue(type)!, result.GetValue(Seed), path, new PercentLine(path).Report, cancellation);
            return Task.FromResult(0);
        });
        return command;
    }
}

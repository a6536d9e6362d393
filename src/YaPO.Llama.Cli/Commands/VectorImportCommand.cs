using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector import</c>: vectors of others (NumPy arrays, llama.cpp control vectors) as .ysv files.</summary>
internal static class VectorImportCommand
{
    internal sealed record Options(string Input, string? Member, string? Sae, bool Dense, int? Layer, string Model, string Output, VectorRecord Record, bool Json);

    public static Command Build(CommandConsole console)
    {
        var input = new Option<string>("--input", "-i") { Description = "Array in a .npy or .npz file, or a control-vector GGUF (required).", Required = true, HelpName = "FILE" };
        var member = new Option<string?>("--member") { Description = "Which array of an .npz (default: the only one).", HelpName = "NAME" };
        var sae = new Option<string?>("--sae") { Description = "SAE GGUF in whose feature space the array lives: one value per feature (default: none; give this or --dense).", HelpName = "SAE.gguf" };
        var dense = new Option<bool>("--dense") { Description = "The array is a direction in the residual stream: one value per d_model (default: off; implied by a control vector)." };
        var layer = new Option<int?>("--layer")
        {
            Description = "Zero-based block after which the vector acts; needed with --dense (default: the SAE's layer; of a control vector, all of its layers).",
            HelpName = "L",
        }.Within(0, 100_000);
        var model = new Option<string>("--model", "-m") { Description = "GGUF model that the vector is for; checked and recorded (required).", Required = true, HelpName = "FILE" };
        var output = SingleOptions.Output("Vector file (.ysv)");
        var record = new VectorRecordOptions();
        var json = SingleOptions.Json();
        var command = new Command("import", "Turn a vector of another tool into a .ysv file.") { input, member, sae, dense, layer, model, output };
        record.AddTo(command);
        command.Options.Add(json);
        command.Validators.Add(result =>
        {
            if (result.GetValue(sae) is not null && result.GetValue(dense))
            {
                result.AddError("--sae and --dense exclude each other");
            }
        });
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(input), parsed.GetValue(member), parsed.GetValue(sae), parsed.GetValue(dense), parsed.GetValue(layer),
                parsed.GetRequiredValue(model), parsed.GetRequiredValue(output), record.Read(parsed), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        InputFile.Require(options.Input);
        OutputFile.Require(options.Output, options.Input, options.Sae, options.Model);
        var vectors = Read(options);
        cancellation.ThrowIfCancellationRequested();
        var dModel = vectors[0].Kind == VectorKind.Dense ? vectors[0].Value.Length : vectors[0].Dec.Length / vectors[0].K;
        ModelIdentity? model = null;
        foreach (var vector in vectors)
        {
            model = BaseModelCheck.Require(options.Model, dModel, vector.Layer, $"vector '{vector.Name}' of {options.Input}");
        }

        var file = options.Record.ToFile(vectors, model!.ToBaseModel(), dModel, options.Output);
        file.Save(options.Output);
        VectorWritten.Report(console, options.Output, file, options.Json);
        return Task.FromResult(ExitCodes.Success);
    }

    private static List<SteeringVector> Read(Options options)
    {
        var name = options.Record.NameFor(options.Output);
        switch (Path.GetExtension(options.Input).ToLowerInvariant())
        {
            case ".gguf":
                var all = ControlVectorFile.Load(options.Input).Vectors;
                var chosen = all.Where(v => options.Layer is null || v.Layer == options.Layer).ToList();
                return chosen.Count > 0 ? chosen : throw new YapoException(
                    YapoErrorKind.InvalidArgument, $"{options.Input} has no direction for layer {options.Layer}; it has {string.Join(", ", all.Select(v => v.Layer))}");
            case ".npy" or ".npz" when options.Sae is { } path:
                using (var sae = SaeFile.Open(path))
                {
                    return options.Layer is null || options.Layer == sae.Info.Layer
                        ? [VectorImport.Sparse(options.Input, sae, name, options.Record.DecType, options.Member)]
                        : throw new YapoException(YapoErrorKind.Mismatch, $"--layer says {options.Layer}, the SAE {path} is for layer {sae.Info.Layer}");
                }

            case ".npy" or ".npz" when options.Dense:
                return options.Layer is { } layer
                    ? [VectorImport.Dense(options.Input, layer, name, options.Member)]
                    : throw new YapoException(YapoErrorKind.InvalidArgument, "--dense needs --layer: an array does not say where it acts");
            case ".npy" or ".npz":
                throw new YapoException(YapoErrorKind.InvalidArgument, "give --sae SAE.gguf (an array over its features) or --dense (a direction): an array does not say which it is");
            case var extension:
                throw new YapoException(YapoErrorKind.Unsupported, $"{options.Input}: cannot import '{extension}'; expected .npy, .npz or a control-vector .gguf");
        }
    }
}

using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector import</c>: vectors of others (arrays of PyTorch, NumPy and safetensors; control vectors of llama.cpp and repeng) as .ysv files.</summary>
internal static class VectorImportCommand
{
    internal sealed record Options(
        IReadOnlyList<string> Inputs, IReadOnlyList<string> Members, IReadOnlyList<string> Saes, bool Dense, IReadOnlyList<int> Layers, string Model, string Output, VectorRecord Record, bool Json);

    public static Command Build(CommandConsole console)
    {
        var input = new Option<string[]>("--input", "-i")
        {
            Description = "Array in a .pt, .npy, .npz or .safetensors file, or a control-vector GGUF of llama.cpp or repeng; repeatable, one per layer (required).",
            Required = true,
            HelpName = "FILE",
        };
        var member = new Option<string[]>("--member") { Description = "Which array of a file that holds several; repeatable, one per layer (default: the only one).", HelpName = "NAME" };
        var sae = new Option<string[]>("--sae")
        {
            Description = "SAE GGUF in whose feature space the array lives: one value per feature; repeatable, in the order of the arrays (default: none; give this or --dense).",
            HelpName = "SAE.gguf",
        };
        var dense = new Option<bool>("--dense") { Description = "The arrays are directions in the residual stream: one value per d_model (default: off; implied by a control vector)." };
        var layer = new Option<int[]>("--layer")
        {
            Description = "Zero-based block after which the vector acts; with --dense one per array (default: the SAE's layer; of a control vector, all of its layers).",
            HelpName = "L",
        };
        layer.Validators.Add(result =>
        {
            if (result.Tokens.Any(t => int.TryParse(t.Value, out var l) && l is < 0 or > 100_000))
            {
                result.AddError("--layer is out of range: expected 0 to 100000");
            }
        });
        var model = new Option<string>("--model", "-m") { Description = "GGUF model that the vector is for; checked and recorded (required).", Required = true, HelpName = "FILE" };
        var output = SingleOptions.Output("Vector file (.ysv)");
        var record = new VectorRecordOptions();
        var json = SingleOptions.Json();
        var command = new Command("import", "Turn vectors of other tools into a .ysv file.") { input, member, sae, dense, layer, model, output };
        record.AddTo(command);
        command.Options.Add(json);
        command.Validators.Add(result =>
        {
            if (result.GetResult(sae) is not null && result.GetValue(dense))
            {
                result.AddError("--sae and --dense exclude each other");
            }
        });
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(input), parsed.GetValue(member) ?? [], parsed.GetValue(sae) ?? [], parsed.GetValue(dense), parsed.GetValue(layer) ?? [],
                parsed.GetRequiredValue(model), parsed.GetRequiredValue(output), record.Read(parsed), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        foreach (var input in options.Inputs)
        {
            InputFile.Require(input);
        }

        OutputFile.Require(options.Output, [.. options.Inputs, .. options.Saes, options.Model]);
        var vectors = options.Inputs.All(IsGguf) ? ControlVectors(options, console) : Arrays(options);
        cancellation.ThrowIfCancellationRequested();
        ModelIdentity? model = null;
        foreach (var vector in vectors)
        {
            var dModel = vector.Kind == VectorKind.Dense ? vector.Value.Length : vector.Dec.Length / vector.K;
            model = BaseModelCheck.Require(options.Model, dModel, vector.Layer, $"vector '{vector.Name}'");
        }

        var file = options.Record.ToFile(vectors, model!.ToBaseModel(), model.DModel, options.Output);
        file.Save(options.Output);
        VectorWritten.Report(console, options.Output, file, options.Json);
        return Task.FromResult(ExitCodes.Success);
    }

    private static List<SteeringVector> ControlVectors(Options options, CommandConsole console)
    {
        if (options.Saes.Count + options.Members.Count > 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "--sae and --member are for arrays; a control vector is dense and names its layers");
        }

        var all = new List<SteeringVector>();
        foreach (var input in options.Inputs)
        {
            var file = ControlVectorFile.Load(input);
            all.AddRange(file.Vectors);
            if (file.Base.Architecture is { Length: > 0 } hint)
            {
                console.Note($"{Paths.Short(input)}: {file.Vectors.Count} layers, made for '{hint}'");
            }
        }

        var missing = options.Layers.Where(l => all.All(v => v.Layer != l)).ToList();
        return missing.Count > 0
            ? throw new YapoException(YapoErrorKind.InvalidArgument, $"no direction for layer {string.Join(", ", missing)}; there are {string.Join(", ", all.Select(v => v.Layer).Distinct())}")
            : [.. all.Where(v => options.Layers.Count == 0 || options.Layers.Contains(v.Layer))];
    }

    private static List<SteeringVector> Arrays(Options options)
    {
        if (options.Inputs.FirstOrDefault(IsGguf) is { } gguf)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{gguf} is a control vector, the other inputs are arrays; import them one after the other and `vector combine` the results");
        }

        if (options.Members.Count > 1 && options.Inputs.Count > 1)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "give several --input or several --member, not both");
        }

        List<(string Path, string? Member)> arrays = options.Members.Count > 1
            ? [.. options.Members.Select(m => (options.Inputs[0], (string?)m))]
            : [.. options.Inputs.Select(path => (path, options.Members.Count > 0 ? options.Members[0] : null))];
        if (options.Dense)
        {
            return options.Layers.Count == arrays.Count
                ? [.. arrays.Zip(options.Layers, (a, layer) => VectorImport.Dense(a.Path, layer, Name(layer), a.Member))]
                : throw new YapoException(YapoErrorKind.InvalidArgument, $"--dense needs one --layer per array, {arrays.Count} here: an array does not say where it acts");
        }

        if (options.Saes.Count == 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "give --sae SAE.gguf (an array over its features) or --dense (a direction): an array does not say which it is");
        }

        if (options.Saes.Count != arrays.Count || (options.Layers.Count > 0 && options.Layers.Count != arrays.Count))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{arrays.Count} arrays need as many --sae (and --layer, where given); found {options.Saes.Count} and {options.Layers.Count}");
        }

        return [.. arrays.Select((a, i) => Sparse(a.Path, a.Member, options.Saes[i], options.Layers.Count > 0 ? options.Layers[i] : null))];

        string Name(int layer) => options.Record.NameFor(options.Output) + (arrays.Count > 1 ? $" {layer}" : "");

        SteeringVector Sparse(string path, string? member, string saePath, int? layer)
        {
            using var sae = SaeFile.Open(saePath);
            return layer is null || layer == sae.Info.Layer
                ? VectorImport.Sparse(path, sae, Name(sae.Info.Layer), options.Record.DecType, member)
                : throw new YapoException(YapoErrorKind.Mismatch, $"--layer says {layer}, the SAE {saePath} is for layer {sae.Info.Layer}");
        }
    }

    private static bool IsGguf(string path) => path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase);
}

using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>model info</c>: architecture, sizes, tokens and quantization of a model file; loads no weights.</summary>
internal static class ModelInfoCommand
{
    internal sealed record Options(string File, bool Json);

    public static Command Build(CommandConsole console)
    {
        var file = SingleOptions.File("A GGUF model.");
        var json = SingleOptions.Json();
        var command = new Command("info", "Show architecture, sizes, tokens and quantization of a model file.") { file, json };
        return command.Handle(console, parsed => new Options(parsed.GetRequiredValue(file), parsed.GetValue(json)), HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        InputFile.Require(options.File);
        console.RouteNativeLog();
        using var gguf = GgufFile.Open(options.File);
        using var model = LlamaModel.Load(options.File, new ModelOptions { VocabularyOnly = true }, cancellation: cancellation);
        var info = model.Info;
        var identity = ModelFingerprint.Compute(gguf);
        var parameters = gguf.Tensors.Sum(t => t.Elements);
        var types = gguf.Tensors.GroupBy(t => t.Type)
            .Select(g => new TensorGroup(g.Key.ToString(), g.Count(), g.Sum(t => t.Elements), g.Sum(t => t.Bytes)))
            .OrderByDescending(g => g.Bytes).ToList();
        if (options.Json)
        {
            console.WriteJson(new
            {
                options.File,
                info.Architecture,
                info.Name,
                info.Description,
                identity.Quantization,
                identity.Fingerprint,
                Layers = info.LayerCount,
                DModel = info.ModelWidth,
                Heads = info.HeadCount,
                KvHeads = info.KeyValueHeadCount,
                Vocabulary = info.VocabularySize,
                info.TrainingContext,
                Parameters = parameters,
                FileBytes = gguf.Length,
                BosToken = TokenOrNull(info.BosToken),
                EosToken = TokenOrNull(info.EosToken),
                EotToken = TokenOrNull(info.EotToken),
                info.AddsBos,
                model.HasChatTemplate,
                TensorTypes = types,
            });
            return Task.FromResult(ExitCodes.Success);
        }

        console.WriteList(
        [
            ("file", $"{options.File}, {Sizes.Text(gguf.Length)}"),
            ("model", info.Name.Length > 0 ? info.Name : "without name"),
            ("architecture", info.Architecture),
            ("fingerprint", identity.Fingerprint),
            ("quantization", identity.Quantization.Length > 0 ? identity.Quantization : "none"),
            ("parameters", Sizes.Count(parameters)),
            ("blocks", $"{info.LayerCount} (layers 0 to {info.LayerCount - 1})"),
            ("d_model", $"{info.ModelWidth}"),
            ("heads", $"{info.HeadCount}, {info.KeyValueHeadCount} for keys and values"),
            ("vocabulary", $"{info.VocabularySize} tokens"),
            ("context", $"{info.TrainingContext} tokens in training"),
            ("special tokens", $"BOS {Token(model, info.BosToken)}{(info.AddsBos ? ", put in front" : "")}; EOS {Token(model, info.EosToken)}; end of turn {Token(model, info.EotToken)}"),
            ("chat template", model.HasChatTemplate ? "yes" : "no: prompts are raw text"),
        ]);
        console.Out.WriteLine();
        console.WriteTable(
            ["tensor type", "tensors", "parameters", "size"],
            types.Select(t => (IReadOnlyList<string>)[t.Type, $"{t.Tensors}", Sizes.Count(t.Elements), Sizes.Text(t.Bytes)]));
        return Task.FromResult(ExitCodes.Success);
    }

    private static int? TokenOrNull(int id) => id >= 0 ? id : null;

    private static string Token(LlamaModel model, int id) => id < 0 ? "none" : $"{id} {model.Detokenize([id], special: true)}";

    internal sealed record TensorGroup(string Type, int Tensors, long Elements, long Bytes);
}

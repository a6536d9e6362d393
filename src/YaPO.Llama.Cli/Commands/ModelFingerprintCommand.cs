using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>model fingerprint</c>: the identity by which a vector finds its model, equal for every quantization.</summary>
internal static class ModelFingerprintCommand
{
    internal sealed record Options(IReadOnlyList<string> Files, bool Json);

    public static Command Build(CommandConsole console)
    {
        var files = new Argument<string[]>("FILE") { Description = "One or several GGUF models.", Arity = ArgumentArity.OneOrMore };
        var json = SingleOptions.Json();
        var command = new Command("fingerprint", "Print the identity of a model, equal for all its quantizations.") { files, json };
        return command.Handle(console, parsed => new Options(parsed.GetRequiredValue(files), parsed.GetValue(json)), HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var models = options.Files.Select(file =>
        {
            cancellation.ThrowIfCancellationRequested();
            return (File: file, Identity: ModelFingerprint.Compute(file));
        }).ToList();
        if (options.Json)
        {
            console.WriteJson(models.Select(m => new
            {
                m.File,
                m.Identity.Fingerprint,
                m.Identity.Architecture,
                m.Identity.Name,
                m.Identity.Quantization,
                m.Identity.DModel,
                Layers = m.Identity.LayerCount,
                m.Identity.ChatTemplateSha256,
                Bytes = m.Identity.SizeBytes,
            }));
            return Task.FromResult(ExitCodes.Success);
        }

        foreach (var (file, identity) in models)
        {
            console.Out.WriteLine($"{identity.Fingerprint}  {file}"); // the form of sha256sum
        }

        return Task.FromResult(ExitCodes.Success);
    }
}

using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector new</c>: a vector made by hand from single features of an SAE.</summary>
internal static class VectorNewCommand
{
    internal sealed record Options(string Sae, IReadOnlyList<string> Features, string? Model, string Output, VectorRecord Record, bool Json);

    public static Command Build(CommandConsole console)
    {
        var sae = new Option<string>("--sae") { Description = "SAE GGUF whose features are used (required).", Required = true, HelpName = "SAE.gguf" };
        var features = new Option<string[]>("--feature")
        {
            Description = "Feature and how much of it, repeatable (required): INDEX:+VALUE adds VALUE to its activation at strength 1, INDEX:-VALUE takes away at most "
                + "what is active, INDEX:2xmax adds twice the largest activation seen.",
            Required = true,
            HelpName = "INDEX:+VALUE|INDEX:2xmax",
        };
        var model = new Option<string?>("--model", "-m") { Description = "GGUF model to check against and to record as base (default: what the SAE records).", HelpName = "FILE" };
        var output = SingleOptions.Output("Vector file (.ysv)");
        var record = new VectorRecordOptions();
        var json = SingleOptions.Json();
        var command = new Command("new", "Make a vector from single features of an SAE.") { sae, features, model, output };
        record.AddTo(command);
        command.Options.Add(json);
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(sae), parsed.GetRequiredValue(features), parsed.GetValue(model), parsed.GetRequiredValue(output),
                record.Read(parsed), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var features = options.Features.Select(FeatureSpec.Parse).ToList();
        OutputFile.Require(options.Output, options.Sae, options.Model);
        using var sae = SaeFile.Open(options.Sae);
        var model = options.Model is { } path ? BaseModelCheck.Require(path, sae.Info.DModel, sae.Info.Layer, $"SAE {options.Sae}") : null;
        var vector = VectorBuilder.FromFeatures(sae, features, options.Record.NameFor(options.Output), options.Record.DecType);
        var file = options.Record.ToFile([vector], model?.ToBaseModel() ?? sae.Info.Base, sae.Info.DModel, options.Output);
        if (file.Base.Fingerprint.Length == 0)
        {
            console.Warn("the SAE records no base model, so the vector will not find one by itself; give --model to record it");
        }

        cancellation.ThrowIfCancellationRequested();
        file.Save(options.Output);
        VectorWritten.Report(console, options.Output, file, options.Json);
        return Task.FromResult(ExitCodes.Success);
    }
}

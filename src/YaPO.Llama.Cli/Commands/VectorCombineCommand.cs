using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector combine</c>: one file that does what several vectors at their strengths do together.</summary>
internal static class VectorCombineCommand
{
    internal sealed record Options(IReadOnlyList<string> Specs, string Output, string? Name, bool Json);

    public static Command Build(CommandConsole console)
    {
        var specs = new Argument<string[]>("SPEC")
        {
            Description = "Vectors FILE[:STRENGTH][@POSITIONS], such as a.ysv:1 b.ysv:-0.5; without STRENGTH the file's recommended one. Strength 1 of the result is all of them at these strengths.",
            Arity = ArgumentArity.OneOrMore,
        };
        var output = SingleOptions.Output("Vector file (.ysv)");
        var name = new Option<string?>("--name") { Description = "Name of the vector (default: the output file's name).", HelpName = "TEXT" };
        var json = SingleOptions.Json();
        var command = new Command("combine", "Add vectors up: the result at strength 1 equals attaching all of them at their strengths.") { specs, output, name, json };
        return command.Handle(
            console,
            parsed => new Options(parsed.GetRequiredValue(specs), parsed.GetRequiredValue(output), parsed.GetValue(name), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var locator = ModelLocator.Create();
        var specs = options.Specs.Select(VectorSpec.Parse).Select(spec => (Spec: spec, Path: locator.ResolveVector(spec.Path))).ToList();
        OutputFile.Require(options.Output, specs.Select(s => s.Path));
        var parts = new List<CombinedPart>();
        foreach (var (spec, path) in specs)
        {
            cancellation.ThrowIfCancellationRequested();
            var file = SteeringFile.Load(path);
            if (file.Base.Fingerprint.Length == 0)
            {
                console.Warn($"{path} does not say which model it was made for: only d_model {file.DModel} is compared");
            }

            parts.Add(new CombinedPart(path, file, SteeringFile.Sha256(path), spec.Strength, spec.Positions));
        }

        var combined = VectorCombination.Combine(parts, options.Name ?? Path.GetFileNameWithoutExtension(options.Output));
        combined.Save(options.Output);
        VectorWritten.Report(console, options.Output, combined, options.Json);
        return Task.FromResult(ExitCodes.Success);
    }
}

using System.CommandLine;
using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Experiments;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Steering;
using YaPO.Llama.Training;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>tune</c>: chooses layer, positions, support, learning rate and strength on held-out data, under a KL budget.</summary>
internal static class TuneCommand
{
    internal sealed record Options(
        string Model, IReadOnlyList<string> Saes, IReadOnlyList<int> Layers, SteeringMethod Method, IReadOnlyList<string> Positions, IReadOnlyList<int> Supports, IReadOnlyList<double> Rates, string Output, string? Name, int CoarseItems,
        ExperimentSettings Experiment);

    public static Command Build(CommandConsole console)
    {
        var model = new Option<string>("--model", "-m") { Description = "GGUF model, any quantization (required).", Required = true, HelpName = "FILE" };
        var sae = new Option<string[]>("--sae") { Description = "SAE GGUF, one per candidate layer, repeatable; needed by yapo and sas (default: none).", HelpName = "FILE", DefaultValueFactory = _ => [] };
        var layers = NumberList.Option("--layer", "With bipo and caa: candidate blocks, zero-based, separated by commas (default: those of --sae).", "L,L,…");
        var method = new Option<string>("--method") { Description = "How candidates are made, as in 'train'.", DefaultValueFactory = _ => "yapo", HelpName = "METHOD" }.OneOf("yapo", "bipo", "caa", "sas");
        var positions = new Option<string>("--positions") { Description = "Candidate positions, separated by commas; each is trained as it acts.", DefaultValueFactory = _ => "all,generated", HelpName = "POSITIONS,…" };
        var supports = NumberList.Option("--max-features", "With yapo: candidate numbers of latents, separated by commas. 0: all.", "K,K,…", 64, 256);
        var rates = NumberList.Option("--rates", "With yapo and bipo: candidate learning rates, separated by commas (default: the one of --learning-rate).", "X,X,…");
        var coarse = SingleOptions.Number("--coarse-items", "Validation items of the coarse pass.", 96, 1, int.MaxValue, "N");
        var output = SingleOptions.Output("Vector file (.ysv) of the winner");
        var name = new Option<string?>("--name") { Description = "Name of the vector (default: the output's file name).", HelpName = "TEXT" };
        var shared = new ExperimentOptions(0.05, neutralRequired: true);
        var command = new Command("tune", "Choose layer, positions, support, learning rate and strength of a vector on held-out data, under a KL budget.") { model, sae, layers, method, positions, supports, rates, coarse, output, name };
        shared.AddTo(command);
        command.Validators.Add(result =>
        {
            foreach (var (option, least) in new[] { (layers, 0.0), (supports, 0.0) })
            {
                foreach (var value in result.Numbers(option).Where(x => x < least || x > 1 << 26 || x != Math.Floor(x)))
                {
                    result.AddError(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{option.Name} {value} is not a whole number from {least} on"));
                }
            }

            if (result.Numbers(rates).Any(r => !(r > 0)))
            {
                result.AddError("--rates must be above 0");
            }

            var how = result.Value(method, "yapo");
            if (how is "yapo" or "sas" && result.GetValue(sae) is not { Length: > 0 })
            {
                result.AddError($"--method {how} works in the latent space of an SAE; give one for each candidate layer with --sae");
            }

            if (how is "bipo" or "caa" && result.GetValue(sae) is not { Length: > 0 } && result.Numbers(layers).Count == 0)
            {
                result.AddError("give candidate layers with --layer, or SAEs with --sae");
            }

            shared.RefuseIdle(result, [how], supports, rates);
            result.RefuseBeside(how is "yapo" or "sas", $"--method {how}, whose layers are those of --sae", layers);
            result.RefuseBeside(how is "bipo" or "caa" && result.Given(layers), "--layer, which names the blocks", sae);
        });
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(model), parsed.GetValue(sae) ?? [], [.. parsed.Numbers(layers).Select(x => (int)x)], Enum.Parse<SteeringMethod>(parsed.GetValue(method)!, ignoreCase: true),
                [.. parsed.GetValue(positions)!.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select(p => SteeringPositions.Parse(p).ToString()).Distinct()],
                [.. parsed.Numbers(supports).Select(x => (int)x).Distinct()], [.. parsed.Numbers(rates).Distinct()], parsed.GetRequiredValue(output), parsed.GetValue(name), parsed.GetValue(coarse), shared.Read(parsed)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation) =>
        ExperimentRun.RunAsync(console, options.Experiment, [.. options.Saes, options.Model], () => new TuneRun(options, console, cancellation).Run(), options.Output);
}

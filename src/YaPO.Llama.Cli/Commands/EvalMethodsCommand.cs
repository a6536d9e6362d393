using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Experiments;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Training;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>eval methods</c>: CAA, SAS, BiPO and YaPO on one or several data sets, each at its own tuned rate.</summary>
internal static class EvalMethodsCommand
{
    internal sealed record Options(
        string Model, string Sae, IReadOnlyList<SteeringMethod> Methods, IReadOnlyList<double> Rates, int Seeds, int MaxFeatures, double Tau, int ValidationItems, string? Knowledge, ExperimentSettings Experiment);

    public static Command Build(CommandConsole console)
    {
        var model = new Option<string>("--model", "-m") { Description = "GGUF model, any quantization (required).", Required = true, HelpName = "FILE" };
        var sae = new Option<string>("--sae") { Description = "SAE GGUF; its block is steered by all methods (required).", Required = true, HelpName = "FILE" };
        var methods = new Option<string>("--methods") { Description = "Methods to compare, separated by commas.", DefaultValueFactory = _ => "caa,sas,bipo,yapo", HelpName = "METHOD,…" };
        methods.Validators.Add(result =>
        {
            foreach (var name in result.Tokens.SelectMany(t => t.Value.Split(',')).Where(n => n is not ("caa" or "sas" or "bipo" or "yapo")))
            {
                result.AddError($"--methods '{name}' is unknown: expected caa, sas, bipo, yapo");
            }
        });
        var rates = NumberList.Option("--rates", "Learning rates that bipo and yapo are each tuned among, on --validation-data, separated by commas; where the best is at an edge, up to three further ones are tried.", "X,X,…", 0.002, 0.006, 0.02, 0.06);
        var seeds = SingleOptions.Number("--seeds", "Seeds of bipo and yapo, counted from --seed; caa and sas draw nothing.", 2, 1, 1000, "N");
        var features = SingleOptions.Number("--max-features", "Latents that yapo keeps. 0: all.", 256, 0, 1 << 26, "K");
        var tau = SingleOptions.Number("--tau", "sas: share of one side's examples in which a latent must fire.", 0.7, 0, 1, "X");
        var items = SingleOptions.Number("--validation-items", "Validation items on which strengths are tried.", 96, 1, int.MaxValue, "N");
        var knowledge = new Option<string?>("--knowledge") { Description = "Questions that steering should leave alone (default: none).", HelpName = "FILE" };
        var shared = new ExperimentOptions(0.05, neutralRequired: false, several: true);
        var command = new Command("methods", "Train caa, sas, bipo and yapo on one or several data sets over several seeds, each at its own tuned rate, and compare them.") { model, sae, methods, rates, seeds, features, tau, items, knowledge };
        shared.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.Numbers(rates).Any(r => !(r > 0)))
            {
                result.AddError("--rates must be above 0");
            }

            var names = result.Value(methods, "caa,sas,bipo,yapo").Split(',');
            shared.RefuseIdle(result, names, features, rates);
            result.RequireBeside(!names.Contains("yapo") && !names.Contains("bipo"), "yapo or bipo among --methods", seeds);
            result.RequireBeside(!names.Contains("sas"), "sas among --methods", tau);
        });
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(model), parsed.GetRequiredValue(sae), [.. parsed.GetValue(methods)!.Split(',').Distinct().Select(m => Enum.Parse<SteeringMethod>(m, ignoreCase: true))],
                [.. parsed.Numbers(rates).Distinct().Order()], parsed.GetValue(seeds), parsed.GetValue(features), parsed.GetValue(tau), parsed.GetValue(items), parsed.GetValue(knowledge), shared.Read(parsed)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation) =>
        ExperimentRun.RunAsync(console, options.Experiment, [options.Model, options.Sae, options.Knowledge], () => new MethodsRun(options, console, cancellation).Run());
}

using System.CommandLine;
using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Experiments;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Training;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>eval transfer</c>: vectors trained on each quantization, run on each.</summary>
internal static class EvalTransferCommand
{
    internal sealed record Options(IReadOnlyList<string> Models, string? Sae, int? Layer, SteeringMethod Method, int MaxFeatures, IReadOnlyList<double> Strengths, ExperimentSettings Experiment);

    public static Command Build(CommandConsole console)
    {
        var models = new Option<string[]>("--model", "-m") { Description = "GGUF files of one model, such as F16, Q8_0 and Q4_K_M; the first is what the others are compared with (required, repeatable).", Required = true, HelpName = "FILE" };
        var sae = new Option<string?>("--sae") { Description = "SAE GGUF; needed by yapo and sas (default: none).", HelpName = "FILE" };
        var layer = new Option<int?>("--layer") { Description = "Zero-based block to steer (default: the SAE's).", HelpName = "L" }.Within(0, 100_000);
        var method = new Option<string>("--method") { Description = "How vectors are made, as in 'train'.", DefaultValueFactory = _ => "yapo", HelpName = "METHOD" }.OneOf("yapo", "bipo", "caa", "sas");
        var features = SingleOptions.Number("--max-features", "Latents that yapo keeps. 0: all.", 256, 0, 1 << 26, "K");
        var strengths = NumberList.Option("--strengths", "Strengths to choose among on validation, separated by commas.", "X,X,…", 0.2, 0.3, 0.45, 0.65, 0.9);
        var shared = new ExperimentOptions(0.05, neutralRequired: false);
        var command = new Command("transfer", "Train a vector on each quantization of a model and run it on each: does training on the quantized model matter?") { models, sae, layer, method, features, strengths };
        shared.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.GetValue(models) is not { Length: >= 2 } given || given.Distinct().Count() != given.Length)
            {
                result.AddError("give at least two different files with --model");
            }

            var how = result.Value(method, "yapo");
            shared.RefuseIdle(result, [how], features, rates: null);
            result.RefuseBeside(how is "bipo" or "caa" && result.Given(layer), "--layer, which names the block", sae);
        });
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(models), parsed.GetValue(sae), parsed.GetValue(layer), Enum.Parse<SteeringMethod>(parsed.GetValue(method)!, ignoreCase: true), parsed.GetValue(features),
                [.. parsed.Numbers(strengths).Distinct().OrderBy(Math.Abs)], shared.Read(parsed)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation) =>
        ExperimentRun.RunAsync(console, options.Experiment, [.. options.Models, options.Sae], () => new TransferRun(options, console, cancellation).Run());
}

using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Machine;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Inspection;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>sae eval</c>: what an SAE keeps of a model on a text.</summary>
internal static class SaeEvalCommand
{
    private const int DefaultWindow = 256;

    internal sealed record Options(string Model, string Sae, string Data, int Window, int MaxTokens, EngineSettings Engine, bool Json);

    public static Command Build(CommandConsole console)
    {
        var model = new Option<string>("--model", "-m") { Description = "GGUF model (required).", Required = true, HelpName = "FILE" };
        var sae = new Option<string>("--sae") { Description = "SAE GGUF (required).", Required = true, HelpName = "SAE.gguf" };
        var data = new Option<string>("--data")
        {
            Description = "Text to measure on: plain text with empty lines between documents, or .jsonl with {\"text\"}, {\"messages\"} or {\"prompt\", \"chosen\"} (required).",
            Required = true,
            HelpName = "FILE",
        };
        var window = new Option<int>("--window") { Description = "Tokens evaluated at once; longer documents are cut.", DefaultValueFactory = _ => DefaultWindow, HelpName = "N" }.Within(3, 1 << 20);
        var maxTokens = new Option<int>("--max-tokens") { Description = "Stop reading the text after about this many tokens. 0: all of it.", DefaultValueFactory = _ => 0, HelpName = "N" }.Within(0, int.MaxValue);
        var engine = new EngineOptions();
        var json = SingleOptions.Json();
        var command = new Command("eval", "Measure an SAE on a text: active latents, explained variance, and the loss when its reconstruction replaces the residual.")
        {
            model, sae, data, window, maxTokens,
        };
        engine.AddTo(command, withContext: false);
        command.Options.Add(json);
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(model), parsed.GetRequiredValue(sae), parsed.GetRequiredValue(data), parsed.GetValue(window), parsed.GetValue(maxTokens),
                engine.Read(parsed), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        InputFile.Require(options.Data);
        using var sae = SaeFile.Open(options.Sae);
        BaseModelCheck.Require(InputFile.Require(options.Model), sae, console);
        using var model = console.LoadModel(options.Model, options.Engine.ModelOptions, cancellation);
        var windows = Limit(TextCorpus.Read(options.Data, model, Math.Min(options.Window, Math.Max(3, model.Info.TrainingContext))), options.MaxTokens);
        SaeEvaluationReport report;
        var work = 4L * windows.Sum(w => (long)w.Length); // as SaeEvaluation runs the text
        using (var progress = console.Progress("measuring the SAE", work, "tokens"))
        using (var evaluation = new SaeEvaluation(model, sae, windows, options.Engine.Threads, new ProgressRelay<double>(share => progress.Report((long)Math.Round(work * share)))))
        {
            report = evaluation.Run(cancellation);
        }

        if (options.Json)
        {
            console.WriteJson(Document(options, sae, report));
            return Task.FromResult(ExitCodes.Success);
        }

        console.WriteList(
        [
            ("measured on", $"{report.Tokens} tokens without BOS, {report.Predictions} predictions"),
            ("active latents", $"{Sizes.Real(report.L0)} of {sae.Info.Width} per token{(sae.Info.AverageL0 is { } l0 ? $" (published: {Sizes.Real(l0)})" : "")}"),
            ("explained variance", $"{Sizes.Real(report.ExplainedVariance)} (1 − Σ‖h − ĥ‖² / Σ‖h − mean h‖²)"),
            ("dead latents", $"{report.Dead} of {sae.Info.Width} active on no token of this text"),
            ("loss", $"{Sizes.Real(report.Loss)} nats per token"),
            ("  reconstruction", $"{Sizes.Real(report.LossReconstructed)} with the reconstruction in place of the residual after block {sae.Info.Layer}"),
            ("  zeros", $"{Sizes.Real(report.LossZero)}; the reconstruction recovers {Share(report.RecoveredFromZero)}"),
            ("  mean residual", $"{Sizes.Real(report.LossMean)}; the reconstruction recovers {Share(report.RecoveredFromMean)}"),
        ]);
        return Task.FromResult(ExitCodes.Success);
    }

    private static int[][] Limit(int[][] windows, int tokens)
    {
        var total = 0L;
        return tokens == 0 ? windows : [.. windows.TakeWhile(w => (total += w.Length) - w.Length < tokens)];
    }

    private static string Share(double value) => double.IsFinite(value) ? $"{Sizes.Real(100 * value)} %" : "an unknown share";

    private static object Document(Options options, SaeFile sae, SaeEvaluationReport report) => new
    {
        options.Model,
        options.Sae,
        options.Data,
        sae.Info.Layer,
        sae.Info.Width,
        report.Tokens,
        report.Predictions,
        report.L0,
        PublishedL0 = sae.Info.AverageL0,
        ExplainedVariance = Finite(report.ExplainedVariance),
        report.MeanNorm,
        DeadLatents = report.Dead,
        report.Loss,
        report.LossReconstructed,
        report.LossZero,
        report.LossMean,
        LossRecoveredZero = Finite(report.RecoveredFromZero),
        LossRecoveredMean = Finite(report.RecoveredFromMean),
    };

    private static double? Finite(double value) => double.IsFinite(value) ? value : null;
}

using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Machine;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Cli.Commands;

/// <summary>The fit check as <c>sae convert</c> and <c>sae info</c> run and show it.</summary>
internal static class SaeFitRun
{
    /// <summary>The text of --text; null: the built-in one.</summary>
    public static string? ReadText(string? path) => path is null ? null : File.ReadAllText(InputFile.Require(path));

    /// <summary>Measures how well the SAE describes the model's residual stream on a text.</summary>
    /// <exception cref="YapoException">The model does not fit the SAE's shape, or the text is too short.</exception>
    public static SaeFitResult Run(SaeFile sae, string modelPath, string? text, EngineSettings engine, CommandConsole console, CancellationToken cancellation)
    {
        using var model = console.LoadModel(modelPath, engine.ModelOptions, cancellation);
        using var progress = console.Progress("checking the fit", 100, "%");
        var options = new SaeFitOptions
        {
            Text = text,
            Threads = engine.Threads > 0 ? engine.Threads : Environment.ProcessorCount,
            Progress = new ProgressRelay<double>(done => progress.Report((long)(100 * done))),
        };
        return SaeFitCheck.Run(model, sae, options, cancellation);
    }

    /// <summary>An SAE that is plainly wrong for the model is bad input.</summary>
    public static int ExitCode(SaeFitResult? result) => result?.Verdict == SaeFitVerdict.Bad ? ExitCodes.BadInput : ExitCodes.Success;

    /// <summary>The JSON of a result.</summary>
    public static object? Document(SaeFitResult? result) => result is null ? null : new
    {
        Verdict = Name(result),
        result.Reasons,
        result.Declared.Tokens,
        result.Declared.ExplainedVariance,
        result.Declared.MedianRelativeError,
        result.Declared.L0,
        result.Declared.PublishedL0,
        result.Declared.MeanNorm,
        SilentFeatures = result.Declared.Silent,
        Neighbours = result.Neighbours.Select(r => new { r.Layer, r.ExplainedVariance, r.L0 }),
    };

    /// <summary>What a person reads, on stdout.</summary>
    public static void Show(CommandConsole console, SaeFitResult result)
    {
        var fit = result.Declared;
        var beside = string.Concat(result.Neighbours.Select(n => $", {Sizes.Real(n.ExplainedVariance)} at layer {n.Layer}"));
        console.WriteList(
        [
            ("fit", $"{Name(result)}, on {fit.Tokens} tokens without BOS"),
            ("explained variance", $"{Sizes.Real(fit.ExplainedVariance)} at layer {fit.Layer}{beside}"),
            ("active features", $"{Sizes.Real(fit.L0)} per token{(fit.PublishedL0 is { } published ? $" (published: {Sizes.Real(published)})" : "")}"),
        ]);
        foreach (var reason in result.Reasons)
        {
            console.Out.WriteLine($"  {reason}");
        }
    }

    private static string Name(SaeFitResult result) => result.Verdict.ToString().ToLowerInvariant();
}

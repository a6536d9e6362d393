using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>sae info</c>: what an SAE file holds.</summary>
internal static class SaeInfoCommand
{
    /// <summary>A rate from below which a feature counts as dead: exactly 0 here, 1e-10 in SAELens' files, which hold logarithms.</summary>
    private const float DeadRate = 1e-9f;

    internal sealed record Options(string File, string? Model, string? Text, EngineSettings Engine, bool Json);

    public static Command Build(CommandConsole console)
    {
        var file = SingleOptions.File("An SAE GGUF made by 'sae convert' or 'sae train'.");
        var model = new Option<string?>("--model", "-m") { Description = "GGUF model to check the SAE on: explained variance, active features (default: none, no check).", HelpName = "FILE" };
        var text = new Option<string?>("--text", "--data") { Description = "Text file for the check (default: built-in English prose).", HelpName = "FILE" };
        var engine = new EngineOptions();
        var json = SingleOptions.Json();
        var command = new Command("info", "Show what an SAE file holds (shape, source, row norms, dead features), and how well it fits a model.") { file, model, text };
        engine.AddTo(command, withContext: false);
        command.Options.Add(json);
        return command.Handle(
            console,
            parsed => new Options(parsed.GetRequiredValue(file), parsed.GetValue(model), parsed.GetValue(text), engine.Read(parsed), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        using var sae = SaeFile.Open(options.File);
        var info = sae.Info;
        var fit = options.Model is { } model ? SaeFitRun.Run(sae, InputFile.Require(model), SaeFitRun.ReadText(options.Text), options.Engine, console, cancellation) : null;
        var exit = SaeFitRun.ExitCode(fit);
        var (encoder, decoder) = SaeRowNorms.Measure(sae, cancellation: cancellation);
        var dead = sae.Rate?.Count(r => r < DeadRate);
        if (options.Json)
        {
            console.WriteJson(new
            {
                options.File,
                Bytes = sae.SizeBytes,
                info.Name,
                info.Layer,
                info.Site,
                info.DModel,
                info.Width,
                Activation = SaeActivationName.Of(info.Activation),
                Topk = info.TopK > 0 ? info.TopK : (int?)null,
                EncType = sae.EncType.ToString(),
                DecType = sae.DecType.ToString(),
                info.AverageL0,
                info.Base,
                info.Source,
                sae.Identity,
                info.License,
                info.Attribution,
                info.Conversion,
                EncoderNorms = encoder,
                DecoderNorms = decoder,
                DeadFeatures = dead,
                L0 = sae.Rate?.Sum(r => (double)r),
                HasRates = sae.Rate is not null,
                HasMaxima = sae.Max is not null,
                HasLabels = sae.Labels is not null,
                Fit = SaeFitRun.Document(fit),
            });
            return Task.FromResult(exit);
        }

        console.WriteList(
        [
            ("file", $"{options.File}, {Sizes.Text(sae.SizeBytes)}"),
            ("name", Given(info.Name)),
            ("layer", $"{info.Layer}, site {info.Site}"),
            ("d_model", $"{info.DModel}"),
            ("width", $"{info.Width} features"),
            ("activation", SaeActivationName.Of(info.Activation) + (info.TopK > 0 ? $", k = {info.TopK}" : "")),
            ("stored as", $"encoder {sae.EncType}, decoder {sae.DecType}"),
            ("published L0", info.AverageL0 is { } l0 ? $"{Sizes.Real(l0)} active features per token" : null),
            ("recorded L0", sae.Rate is { } rates ? $"{Sizes.Real(rates.Sum(r => (double)r))} active features per token, the sum of the firing rates" : null),
            ("dead features", dead is { } silent ? $"{silent} of {info.Width} by their firing rates" : null),
            ("encoder norms", Norms(encoder, info.Width)),
            ("decoder norms", Norms(decoder, info.Width) + (decoder.Zero > 0 ? $"; {decoder.Zero} rows are zero" : "")),
            ("base model", Given(string.Join(", ", new[] { info.Base.Architecture, info.Base.Name }.Where(t => t.Length > 0)))),
            ("base fingerprint", Given(info.Base.Fingerprint)),
            ("source", Given(info.Source)),
            ("identity", sae.Identity),
            ("license", Given(info.License)),
            ("attribution", Given(info.Attribution)),
            ("conversion", info.Conversion.Count > 0 ? string.Join("; ", info.Conversion) : null),
            ("per feature", string.Join(", ", new[] { sae.Rate is null ? "" : "firing rates", sae.Max is null ? "" : "maxima", sae.Labels is null ? "" : "labels" }.Where(t => t.Length > 0)) is { Length: > 0 } t ? t : null),
        ]);
        if (fit is not null)
        {
            console.Out.WriteLine();
            SaeFitRun.Show(console, fit);
        }

        return Task.FromResult(exit);
    }

    private static string Norms(RowNorms n, int width) =>
        $"median {Sizes.Real(n.Median)}, 10 % to 90 %: {Sizes.Real(n.P10)} to {Sizes.Real(n.P90)}, extremes {Sizes.Real(n.Least)} and {Sizes.Real(n.Largest)}"
        + (n.Rows < width ? $" (of {n.Rows} rows, evenly spaced)" : "");

    private static string? Given(string text) => text.Length > 0 ? text : null;
}

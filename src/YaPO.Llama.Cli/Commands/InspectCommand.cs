using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Inspect;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Inspection;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>inspect</c>: which features fire on a text, what they stand for, and what a vector changes.</summary>
internal static class InspectCommand
{
    private const int DefaultTop = 8;
    private const int DefaultWindow = 256;

    internal sealed record Options(
        string? Prompt, string? Sae, int Top, int Promoted, string? Labels, int? Feature, string? Data, SteeringSettings Steering, EngineSettings Engine, bool Json);

    public static Command Build(CommandConsole console)
    {
        var prompt = new Option<string?>("--prompt", "-p") { Description = "Text to look into, taken as it is, without a chat template; control tokens may be written out (default: none).", HelpName = "TEXT" };
        var sae = new Option<string?>("--sae") { Description = "SAE GGUF (default: one of the model's width in the model's folder).", HelpName = "SAE.gguf" };
        var top = new Option<int>("--top") { Description = "Features listed for the text, for each token and for a vector; snippets of a feature.", DefaultValueFactory = _ => DefaultTop, HelpName = "K" }.Within(1, 10_000);
        var promoted = new Option<int>("--promoted") { Description = "Tokens that each listed feature promotes. 0: do not look.", DefaultValueFactory = _ => 5, HelpName = "N" }.Within(0, 1000);
        var labels = new Option<string?>("--labels")
        {
            Description = "Labels of features: JSON or JSON Lines with index (or feature, id) and description (or label, explanation), gzipped or not (default: the SAE's own, where it has any).",
            HelpName = "FILE",
        };
        var feature = new Option<int?>("--feature") { Description = "Look at one feature: what it promotes, where it fires in -p and in --data (default: none).", HelpName = "ID" };
        var data = new Option<string?>("--data")
        {
            Description = "Text in which the strongest places of --feature are looked for: plain text with empty lines between documents, or .jsonl with {\"text\"}, {\"messages\"} or {\"prompt\", \"chosen\"} (default: none).",
            HelpName = "FILE",
        };
        var steering = new SteeringOptions(modelRequired: false, withSae: false);
        var engine = new EngineOptions();
        var json = SingleOptions.Json();
        var command = new Command("inspect", "Show which features of an SAE fire on a text, what they promote, and what a vector changes.")
        {
            prompt, sae, top, promoted, labels, feature, data,
        };
        steering.AddTo(command);
        engine.AddTo(command, withContext: false);
        command.Options.Add(json);
        command.Validators.Add(result =>
        {
            if (result.GetValue(prompt) is null && result.GetValue(feature) is null)
            {
                result.AddError("give -p TEXT to look into, or --feature ID");
            }

            if (result.GetValue(prompt) is { Length: 0 })
            {
                result.AddError("-p is empty; there is nothing to look into");
            }

            if (result.GetValue(data) is not null && result.GetValue(feature) is null)
            {
                result.AddError("--data is searched for one feature: give --feature ID too");
            }
        });
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetValue(prompt), parsed.GetValue(sae), parsed.GetValue(top), parsed.GetValue(promoted), parsed.GetValue(labels), parsed.GetValue(feature),
                parsed.GetValue(data), steering.Read(parsed), engine.Read(parsed), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        if (options.Data is { } path)
        {
            InputFile.Require(path);
        }

        using var steered = SteeredModel.Open(options.Steering with { Sae = options.Sae is { } named ? InputFile.Require(named) : null }, options.Engine, console, cancellation);
        var model = steered.Model;
        using var sae = options.Sae is { } given ? SaeFile.Open(given) : FindSae(model);
        if (options.Sae is null)
        {
            console.Note($"SAE {Paths.Short(sae.Path)}: layer {sae.Info.Layer}, {sae.Info.Width} features");
        }

        BaseModelCheck.Require(model.Path, sae, console);
        if (options.Feature is { } wanted && (wanted < 0 || wanted >= sae.Info.Width))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"feature {wanted} is out of range: {sae.Path} has 0 to {sae.Info.Width - 1}");
        }

        var labels = options.Labels is { } file ? FeatureLabels.Load(file, sae.Info.Width) : null;
        var names = new FeatureNames(model, sae, labels, options.Promoted);
        var tokens = options.Prompt is { } text ? model.Tokenize(text) : [];
        var windows = options.Data is { } data ? TextCorpus.Read(data, model, Math.Min(DefaultWindow, model.Info.TrainingContext)) : [];
        if (tokens.Length > Math.Max(1, model.Info.TrainingContext))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"-p has {tokens.Length} tokens, the model reads {model.Info.TrainingContext}; shorten it");
        }

        var threads = steered.ContextFor(1).Threads;
        var report = new InspectReport { Model = model.Path, Sae = sae, Top = options.Top };
        using (var reader = new FeatureReader(model, sae, Math.Max(1, windows.Select(w => w.Length).Append(tokens.Length).Max()), threads))
        {
            report.Tokens = tokens.Length > 0 ? reader.Read(tokens, cancellation) : [];
            report.Features = FeatureOfText.Rank(report.Tokens, sae, options.Top);
            if (options.Feature is { } feature)
            {
                report.Feature = feature;
                if (windows.Length > 0)
                {
                    using var progress = console.Progress($"looking for feature {feature}", windows.Length, "texts");
                    report.Snippets = FeatureSnippets.Find(reader, feature, windows, options.Top, progress: new ProgressRelay<int>(n => progress.Report(n)), cancellation: cancellation);
                }
            }
        }

        if (tokens.Length > 0 && steered.Steering.Count > 0)
        {
            report.Effects = VectorEffect.Measure(model, steered.Steering, tokens, threads, cancellation);
        }

        try
        {
            names.Prepare(report.ListedFeatures(), cancellation);
        }
        catch (YapoException e) when (e.Kind == YapoErrorKind.Unsupported)
        {
            console.Warn(e.Message); // a label less, but the rest stands
        }

        if (options.Json)
        {
            console.WriteJson(report.Document(names));
        }
        else
        {
            InspectText.Write(console, report, names);
        }

        return Task.FromResult(ExitCodes.Success);
    }

    private static SaeFile FindSae(LlamaModel model)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(model.Path))!;
        return SaeSearch.FindWidth(model.Info.ModelWidth, [folder])
            ?? throw new YapoException(YapoErrorKind.InvalidArgument, $"there is no SAE of d_model {model.Info.ModelWidth} in {folder}; give --sae SAE.gguf");
    }
}

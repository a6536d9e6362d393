using System.CommandLine;
using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>eval mcq</c>: multiple-choice questions.</summary>
internal static class EvalMcqCommand
{
    internal sealed record Options(
        EvaluationSettings Evaluation, ChoiceMode Mode, string? Label, string? Layout, bool ShowOptions, int Shots, string? FewShot, int MaxTokens);

    public static Command Build(CommandConsole console)
    {
        var shared = new EvaluationOptions(
            "Questions, repeatable: JSON Lines of {prompt, options, answer | labels}, MMLU (CSV or JSON Lines), CAA and Anthropic's model-written evals (JSON array or JSON Lines), BiPO (CSV) or Deep-Culture-Lense (CSV or JSON Lines) (required).");
        var by = new Option<string>("--by")
        {
            Description = "How an answer is read: text (log-probability of each whole answer), letter (options in the prompt, turned through all places), generated (the greedy answer).",
            DefaultValueFactory = _ => "text",
            HelpName = "text|letter|generated",
        }.OneOf("text", "letter", "generated");
        var label = new Option<string?>("--label")
        {
            Description = "Label (a culture) whose answer counts (default: the vector's name where the data has it as a label, else each question's own answer).",
            HelpName = "LABEL",
        };
        var layout = new Option<string?>("--layout") { Description = "How options are lettered: dotted (\"A. text\", MMLU) or parenthesized (\"(A) text\", CAA) (default: as the data's own form has it).", HelpName = "LAYOUT" };
        layout.Validators.Add(result =>
        {
            foreach (var token in result.Tokens.Where(t => t.Value is not ("dotted" or "parenthesized")))
            {
                result.AddError($"--layout '{token.Value}' is unknown: expected dotted, parenthesized");
            }
        });
        var show = new Option<bool>("--show-options") { Description = "With --by generated: put the lettered options into the prompt and accept a letter (default: off)." };
        var shots = new Option<int>("--shots") { Description = "Solved questions of --few-shot in front of each question.", DefaultValueFactory = _ => 0, HelpName = "N" }.Within(0, 64);
        var fewShot = new Option<string?>("--few-shot") { Description = "Where the solved questions come from, the first N of the file (default: none).", HelpName = "FILE" };
        var maxTokens = new Option<int>("-n", "--max-tokens") { Description = "With --by generated: longest answer, in tokens.", DefaultValueFactory = _ => 48, HelpName = "N" }.Within(1, 1 << 16);
        var command = new Command("mcq", "Multiple-choice questions: by answer text, by letter, or by generated answer.") { by, label, layout, show, shots, fewShot, maxTokens };
        shared.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.GetValue(shots) > 0 && result.GetValue(fewShot) is null)
            {
                result.AddError("--shots needs --few-shot FILE, solved questions that are not tested");
            }

            var how = result.Value(by, "text");
            result.RequireBeside(result.Value(shots, 0) == 0, "--shots N, how many of them to show", fewShot);
            result.RefuseBeside(how != "generated", $"--by {how}", show, maxTokens);
            result.RefuseBeside(how == "text", "--by text", layout);
            result.RefuseBeside(how == "generated" && !result.GetValue(show), "--by generated unless --show-options puts the options into the prompt", layout);
        });
        return command.Handle(
            console,
            parsed => new Options(
                shared.Read(parsed), Enum.Parse<ChoiceMode>(parsed.GetValue(by)!, ignoreCase: true), parsed.GetValue(label), parsed.GetValue(layout), parsed.GetValue(show),
                parsed.GetValue(shots), parsed.GetValue(fewShot), parsed.GetValue(maxTokens)),
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var settings = options.Evaluation;
        var data = settings.Data.Select(ChoiceFile.Load).ToList();
        var validation = settings.Validation is null ? null : ChoiceFile.Load(settings.Validation);
        var fewShot = options.FewShot is null ? null : ChoiceFile.Load(options.FewShot);
        if (fewShot is not null && fewShot.Items.Count < options.Shots)
        {
            throw new YapoException(YapoErrorKind.Format, $"{fewShot.Path} holds {fewShot.Items.Count} questions, --shots asks for {options.Shots}");
        }

        var places = data.SelectMany(Places).ToList();
        var leaks = LeakCheck.RequireTrainData(places, settings, console).ToList();
        foreach (var (other, what) in new[] { (validation, "validation data"), (fewShot, "few-shot data") })
        {
            if (other is not null)
            {
                LeakCheck.Require(places, Places(other), what, settings.AllowLeak, console);
            }
        }

        if (validation is not null)
        {
            leaks.AddRange(LeakCheck.Topics(places, Places(validation), "validation data", console)); // few-shot examples are of the test's topics by design
        }

        using var run = EvaluationRun.Open(settings, console, cancellation);
        run.Note(leaks);
        var items = FileTopics.Items(data).ToList();
        var examples = fewShot?.Items.Take(options.Shots).ToList() ?? [];
        var layout = options.Layout is { } given ? Enum.Parse<LetterLayout>(given, ignoreCase: true) : data[0].Format == ChoiceFormat.Caa ? LetterLayout.Parenthesized : LetterLayout.Dotted;
        ChoiceSuite Suite(IReadOnlyList<MultipleChoiceItem> from, string file, string? label)
        {
            try
            {
                return new ChoiceSuite(from, new ChoiceSuiteOptions { Mode = options.Mode, Label = label, Layout = layout, ShowOptions = options.ShowOptions, Examples = examples, MaxTokens = options.MaxTokens });
            }
            catch (YapoException e)
            {
                throw new YapoException(e.Kind, $"{file}: {e.Message}", e);
            }
        }

        var report = await Task.Run(
            () => run.Run(
                (subject, _) =>
                {
                    var label = options.Label ?? Inferred(subject, items);
                    return new VectorSuites(Suite(items, string.Join(", ", settings.Data), label), validation is null ? null : Suite(validation.Items, validation.Path, label), label);
                },
                file => Suite(file.Items, file.Path, null),
                (trial, subjects) => Matrix(trial, subjects, items, label => Suite(items, string.Join(", ", settings.Data), label), cancellation),
                cancellation),
            CancellationToken.None).ConfigureAwait(false);
        return console.WriteReport(report, settings.Json);
    }

    private static IEnumerable<LeakCheck.Place> Places(ChoiceFile file) => LeakCheck.Places(file.Path, file.Items);

    /// <summary>The vector's name where the data has it as a label.</summary>
    private static string? Inferred(SubjectVector? subject, List<MultipleChoiceItem> items) =>
        subject is not null && items.Any(i => (i.Labels ?? [i.Culture ?? ""]).Contains(subject.Name, StringComparer.OrdinalIgnoreCase)) ? subject.Name : null;

    /// <summary>Every vector against every label of the questions that name none.</summary>
    private static LabelMatrix? Matrix(Trial trial, IReadOnlyList<SubjectVector> subjects, List<MultipleChoiceItem> items, Func<string, ChoiceSuite> suite, CancellationToken cancellation)
    {
        var labels = items.Where(i => i.Labels is not null && i.Answer is null).SelectMany(i => i.Labels!).Distinct().Order(StringComparer.Ordinal).ToList();
        return labels.Count == 0 ? null : new LabelMatrix(labels, trial.Shares(subjects, [.. labels.Select(suite)], cancellation));
    }
}

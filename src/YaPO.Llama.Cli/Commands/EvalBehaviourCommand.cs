using System.CommandLine;
using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Machine;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>eval behaviour</c>: generated answers, judged by rules or by a model.</summary>
internal static class EvalBehaviourCommand
{
    internal sealed record Options(EvaluationSettings Evaluation, string? Rules, string? Judge, string? Behaviour, string? Rubric, SamplingSettings Sampling);

    public static Command Build(CommandConsole console)
    {
        var rules = new Option<string?>("--rules")
        {
            Description = "Judge by words: a JSON file of {measure, rules: [{any, none, regex, group, score}], default}; the first rule that applies gives the score (default: none).",
            HelpName = "FILE.json",
        };
        var judge = new Option<string?>("--judge") { Description = "Judge by a model, any GGUF, on the scale 1 to 4: the expectation over the four digits, and the likeliest (default: none).", HelpName = "FILE.gguf" };
        var shared = new EvaluationOptions("Prompts, JSON Lines of {prompt, topic, group}, topic and group optional, or of {prompt, expected: refuse|answer, answer, topic}, which need neither --rules nor --judge; also CAA's open-ended questions (JSON), BiPO (CSV) and AdvBench (CSV of goal, target: all to be refused); repeatable (required).", withSeed: false,
            dataOfRefusals: result => result.GetValue(rules) is null && result.GetValue(judge) is null);
        var behaviour = new Option<string?>("--behaviour") { Description = $"With --judge: the behaviour that is rated, in words, or one with a rubric of its own: {string.Join(", ", BehaviourRubrics.Names)} (default: none; needed unless --rubric is given).", HelpName = "TEXT" };
        var rubric = new Option<string?>("--rubric") { Description = "With --judge: a text file with {question}, {answer} and {behaviour} to ask the judge with (default: a general rubric).", HelpName = "FILE.txt" };
        var sampling = new SamplingOptions(128);
        var command = new Command("behaviour", "Generated answers, scored by rules or by a model as judge.") { rules, judge, behaviour, rubric };
        shared.AddTo(command);
        sampling.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.GetValue(rules) is not null && result.GetValue(judge) is not null)
            {
                result.AddError("give either --rules FILE.json or --judge FILE.gguf, not both");
            }

            if (result.GetValue(judge) is not null && result.GetValue(behaviour) is null && result.GetValue(rubric) is null)
            {
                result.AddError("--judge needs --behaviour TEXT, what it is to rate, or --rubric FILE.txt");
            }

            result.RequireBeside(result.GetValue(judge) is null, "--judge FILE.gguf", behaviour, rubric);
        });
        return command.Handle(
            console,
            parsed =>
            {
                var how = sampling.Read(parsed);
                return new Options(shared.Read(parsed) with { Seed = how.Seed }, parsed.GetValue(rules), parsed.GetValue(judge), parsed.GetValue(behaviour), parsed.GetValue(rubric), how);
            },
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var settings = options.Evaluation;
        if (options.Rules is null && options.Judge is null)
        {
            return await RefusalsAsync(options, console, cancellation).ConfigureAwait(false);
        }

        var data = settings.Data.SelectMany(path => Prompts(path, console).Select(item => (Path: path, Item: item))).ToList();
        var validation = settings.Validation is null ? null : Prompts(settings.Validation, console);
        var leaks = Leaks([.. data.SelectMany(d => LeakCheck.Places(d.Path, [d.Item]))], validation is null ? null : [.. LeakCheck.Places(settings.Validation!, validation)], settings, console);

        var rules = options.Rules is null ? null : RuleJudge.Load(options.Rules);
        using var run = EvaluationRun.Open(settings, console, cancellation);
        run.Note(leaks);
        using var judgeModel = options.Judge is null ? null : console.LoadModel(Errors.InputFile.Require(options.Judge), settings.Engine.ModelOptions, cancellation);
        using var judge = judgeModel is null ? null : new ModelJudge(
            judgeModel, options.Behaviour ?? "", options.Rubric is null ? null : File.ReadAllText(Errors.InputFile.Require(options.Rubric)),
            new ScoringOptions { Threads = run.Steered.ContextFor(1).Threads, Sequences = settings.Parallel });
        BehaviourSuite Suite(IEnumerable<PromptItem> prompts) => new([.. prompts], (IJudge?)rules ?? judge!, options.Sampling.ToGeneration());
        var report = await Task.Run(
            () => run.Run((_, _) => new VectorSuites(Suite(FileTopics.Items(data)), validation is null ? null : Suite(validation)), cancellation: cancellation),
            CancellationToken.None).ConfigureAwait(false);
        return console.WriteReport(report, settings.Json);
    }

    /// <summary>Data that says itself what is expected of the model.</summary>
    private static async Task<int> RefusalsAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var settings = options.Evaluation;
        if (settings.Data.FirstOrDefault(path => !RefusalCheck.IsRefusals(Errors.InputFile.Require(path))) is { } other)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"give either --rules FILE.json or --judge FILE.gguf to judge the answers by; only prompts that say what is expected ({RefusalItem.Shape}) need neither, and {other} does not begin with one");
        }

        var data = settings.Data.Select(path => (Path: path, Items: (IReadOnlyList<RefusalItem>)RefusalItem.Load(path))).ToList();
        var validation = settings.Validation is null ? null : RefusalItem.Load(Errors.InputFile.Require(settings.Validation));
        var leaks = Leaks([.. data.SelectMany(d => LeakCheck.Places(d.Path, d.Items))], validation is null ? null : [.. LeakCheck.Places(settings.Validation!, validation)], settings, console);
        using var run = EvaluationRun.Open(settings, console, cancellation);
        run.Note(leaks);
        RefusalSuite Suite(IReadOnlyList<RefusalItem> items) => new(items, RefusalCheck.Rule(settings), options.Sampling.ToGeneration());
        var report = await Task.Run(
            () => run.Run((_, _) => new VectorSuites(Suite([.. FileTopics.Items(data)]), validation is null ? null : Suite(validation)), cancellation: cancellation),
            CancellationToken.None).ConfigureAwait(false);
        return console.WriteReport(report, settings.Json);
    }

    private static IReadOnlyList<PromptItem> Prompts(string path, CommandConsole console) =>
        path == "-" ? console.ReadJsonLines(path, PromptItem.Convert) : PromptItem.Load(Errors.InputFile.Require(path));

    private static List<string> Leaks(IReadOnlyList<LeakCheck.Place> test, IReadOnlyList<LeakCheck.Place>? validation, EvaluationSettings settings, CommandConsole console)
    {
        var notes = LeakCheck.RequireTrainData(test, settings, console).ToList();
        if (validation is not null)
        {
            LeakCheck.Require(test, validation, "validation data", settings.AllowLeak, console);
            notes.AddRange(LeakCheck.Topics(test, validation, "validation data", console));
        }

        return notes;
    }
}

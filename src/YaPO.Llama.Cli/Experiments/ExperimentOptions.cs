using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.Json.Nodes;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Cli.Experiments;

/// <summary>Pairs to train on with what judges the vectors; a command that compares methods takes several.</summary>
/// <param name="Name">The label, else the name of the pairs' file.</param>
/// <param name="Data">Pairs to train on.</param>
/// <param name="ValidationData">Pairs that stop a training; null: none.</param>
/// <param name="Validation">What chooses.</param>
/// <param name="Test">What is reported; null: none.</param>
/// <param name="Label">Whose answer counts; null: each question's own.</param>
internal sealed record ExperimentData(string Name, string Data, string? ValidationData, string Validation, string? Test, string? Label);

/// <summary>What every command that trains vectors and judges them takes, as given. Of several data sets, the properties are those of the first.</summary>
internal sealed record ExperimentSettings(
    string Data, string? ValidationData, string Validation, string? Test, string? Neutral, double KlBudget, string? Label, string? PromptOnly, VectorOptimizerOptions Optimizer,
    string? Folder, bool Resume, bool Json, string? Report, int Workers, EngineSettings Engine)
{
    /// <summary>All data sets.</summary>
    public required IReadOnlyList<ExperimentData> Sets { get; init; }

    /// <summary>Questions that a chosen strength must not cost; null: none.</summary>
    public string? ValidationKnowledge { get; init; }

    private const int LongestNeutral = 256;
    private const int MostNeutral = 2048;

    /// <summary>Every file that is read.</summary>
    public IEnumerable<string> Inputs => Roles().Select(r => r.Path).OfType<string>().Distinct();

    /// <summary>The same settings for one of the data sets; <c>{label}</c> in the prompt stands for its label, <c>{Label}</c> for the label with its first letter in upper case.</summary>
    public ExperimentSettings For(ExperimentData set) => this with
    {
        Data = set.Data,
        ValidationData = set.ValidationData,
        Validation = set.Validation,
        Test = set.Test,
        Label = set.Label,
        PromptOnly = Prompt(set.Label ?? set.Name),
        Sets = [set],
    };

    private string? Prompt(string label) => PromptOnly?.Replace("{label}", label, StringComparison.Ordinal)
        .Replace("{Label}", label.Length == 0 ? label : char.ToUpperInvariant(label[0]) + label[1..], StringComparison.Ordinal);

    /// <summary>The training that the runs share.</summary>
    public SteeringTrainingOptions Training(LlamaModel model) => Training(model.Path) with
    {
        Threads = ThreadsFor(model),
        Workers = Engine.Threads > 0 ? Engine.Threads : Environment.ProcessorCount,
        ModelOptions = Engine.ModelOptions,
    };

    private SteeringTrainingOptions Training(string model) => new()
    {
        Model = model,
        Data = Data,
        ValidationData = ValidationData,
        Output = "",
        Optimizer = Optimizer,
    };

    /// <summary>A scorer that uses the machine well.</summary>
    public SteeredScorer Scorer(LlamaModel model) => new(model, new ScoringOptions
    {
        Threads = ThreadsFor(model),
        Workers = Workers > 0 ? Workers : model.Info.ParameterCount < ContextOptions.SmallModel ? Environment.ProcessorCount : 1,
    });

    /// <summary>Reads what is needed only once vectors are trained: a wrong file is to be refused before hours of training, not after.</summary>
    /// <exception cref="YapoException">Unreadable, malformed or empty.</exception>
    public void RequireTexts(LlamaModel model)
    {
        if (Neutral is not null)
        {
            using var scorer = Scorer(model);
            NeutralText(scorer);
        }

        if (ValidationKnowledge is not null)
        {
            SuiteFile.Load(ValidationKnowledge);
        }
    }

    /// <summary>Neutral text, or none.</summary>
    public List<Llama.Evaluation.Suites.ReadText>? NeutralText(SteeredScorer scorer) => Neutral is null ? null : Llama.Evaluation.Suites.ReadText.Load(Neutral, scorer, LongestNeutral, MostNeutral);

    // On small models threads only wait for each other.
    private int ThreadsFor(LlamaModel model) => Engine.Threads > 0 ? Engine.Threads : model.Info.ParameterCount < ContextOptions.SmallModel ? 1 : 0;

    /// <summary>Canonical JSON of what decides the numbers, file contents included.</summary>
    public string Config(string command, IEnumerable<string> files, JsonObject own)
    {
        var hashes = new Dictionary<string, string>(StringComparer.Ordinal);
        var json = new JsonObject
        {
            ["command"] = command,
            ["training"] = JsonNode.Parse((Training("") with { Method = SteeringMethod.Yapo }).ToCanonicalJson(0)),
            ["seed"] = Optimizer.Seed,
            ["kl_budget"] = KlBudget,
            ["sets"] = new JsonArray([.. Sets.Select(s => (JsonNode)s.Name)]),
            ["label"] = string.Join(',', Sets.Select(s => s.Label)),
            ["prompt_only"] = PromptOnly,
            ["own"] = own,
            ["files"] = new JsonArray([.. Roles().Concat(files.Select(f => ("file", (string?)f))).Select(x => (JsonNode)(x.Item2 is { } path ? $"{x.Item1} {Hash(path)}" : x.Item1))]),
        };
        return CanonicalJson.Write(json);

        string Hash(string path) => hashes.TryGetValue(path, out var known) ? known : hashes[path] = InputFile.Sha256(path);
    }

    /// <summary>Every file with what it is for: the same files in other parts make another run.</summary>
    private IEnumerable<(string Role, string? Path)> Roles() =>
        Sets.SelectMany(s => new[] { ("data", s.Data), ("validation_data", s.ValidationData), ("validation", s.Validation), ("test", s.Test) }).Append(("neutral", Neutral)).Append(("validation_knowledge", ValidationKnowledge));
}

/// <summary>The options of these commands.</summary>
internal sealed class ExperimentOptions
{
    private static readonly VectorOptimizerOptions Defaults = new();

    private readonly bool several;
    private readonly Option<string[]> data;
    private readonly Option<string[]> validationData;
    private readonly Option<string[]> validation;
    private readonly Option<string[]> test;
    private readonly Option<string[]> label;
    private readonly Option<string?> neutral;
    private readonly Option<string?> validationKnowledge = new("--validation-knowledge")
    {
        Description = "Questions that steering should leave alone; strengths at which more than one point of them is lost are not chosen (default: none).",
        HelpName = "FILE",
    };

    private readonly Option<double> klBudget;
    private readonly Option<string?> promptOnly;
    private readonly Option<int> steps = SingleOptions.Number("--steps", "Optimizer steps of each training.", Defaults.Steps, 1, int.MaxValue, "N");
    private readonly Option<int> batch = SingleOptions.Number("--batch-size", "Pairs per step.", Defaults.BatchSize, 1, 1 << 20, "N");
    private readonly Option<double> rate = SingleOptions.Number("--learning-rate", "Peak learning rate, as in 'train'.", Defaults.LearningRate, 0, 1e6, "X");
    private readonly Option<int> refit = SingleOptions.Number("--refit-steps", "Steps of the refit after pruning.", Defaults.RefitSteps, 0, int.MaxValue, "N");
    private readonly Option<double> l1 = SingleOptions.Number("--l1", "L1 penalty while training (yapo). 0: off.", Defaults.L1, 0, 1e6, "X");
    private readonly Option<ulong> seed = new("--seed") { Description = "Decides data order and directions of the trainings.", DefaultValueFactory = _ => 0, HelpName = "N" };
    private readonly Option<string?> folder = new("--checkpoint") { Description = "Folder that keeps vectors, training states, logs and measurements, so that a stopped run can go on (default: none).", HelpName = "DIR" };
    private readonly Option<bool> resume = new("--resume") { Description = "Go on with what the folder holds, to the same result (default: start anew)." };

    private readonly Option<int> workers = new Option<int>("--workers")
    {
        Description = "Parts of a job side by side, each with a context of its own; results do not depend on it. 0: one per core for models below 50 M parameters, else 1.",
        DefaultValueFactory = _ => 0,
        HelpName = "N",
    }.Within(0, 256);

    private readonly Option<bool> json = SingleOptions.Json();
    private readonly Option<string?> report = SingleOptions.Report();
    private readonly EngineOptions engine = new();

    /// <param name="budget">Default KL budget in nats per token.</param>
    /// <param name="neutralRequired">Whether there is no way without neutral text.</param>
    /// <param name="several">Whether several data sets are taken.</param>
    public ExperimentOptions(double budget, bool neutralRequired, bool several = false)
    {
        this.several = several;
        Option<string[]> Files(string name, string what, bool required, string help = "FILE") => new(name)
        {
            Description = what,
            HelpName = help,
            Required = required,
            Arity = ArgumentArity.OneOrMore,
        };
        var each = several ? "; repeatable, one for each data set (a culture, say)" : "";
        var shared = several ? "; one for all data sets, or one for each" : "";
        data = Files("--data", $"Preference pairs to train on, JSON Lines of {{prompt, chosen, rejected}}{each} (required).", true, "FILE.jsonl");
        validationData = Files("--validation-data", $"Pairs that stop a training early and say how well it went{each} (default: none).", false, "FILE.jsonl");
        validation = Files("--validation", $"Questions or pairs that choose, of topics that are not in --data{shared} (required).", true);
        test = Files("--test", $"Questions or pairs of other topics still, measured once for what was chosen{shared} (default: none, and the report says so).", false);
        label = Files("--label", $"Label (a culture) whose answer counts in the questions{each} (default: what the command's output or data is named after, else each question's own answer).", false, "LABEL");
        promptOnly = new Option<string?>("--prompt-only")
        {
            Description = $"Words to compare with, put in front of every question, or around it where they hold {{prompt}}{(several ? "; {label} stands for the label, {Label} for it with a capital" : "")} (default: none, and the report says so).",
            HelpName = "TEXT",
        };
        neutral = new Option<string?>("--neutral")
        {
            Description = $"Neutral text (.txt, or JSON Lines of {{text}}, {{prompt, completion}} or questions with a right answer) on which KL to the unsteered model is measured ({(neutralRequired ? "required" : "default: none, strengths are chosen without a budget")}).",
            HelpName = "FILE",
            Required = neutralRequired,
        };
        klBudget = SingleOptions.Number("--kl-budget", "Most that a chosen strength may cost: KL(unsteered ‖ steered) on neutral text, nats per token.", budget, 1e-9, 1e3, "NATS");
    }

    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { data, validationData, validation, test, neutral, klBudget, validationKnowledge, label, promptOnly, steps, batch, refit, l1, seed, folder, resume, workers, json, report })
        {
            command.Options.Add(option);
        }

        if (!several)
        {
            command.Options.Add(rate); // what compares methods tunes it for each
        }

        engine.AddTo(command, withContext: false);
        command.Validators.Add(parsed =>
        {
            if (parsed.GetValue(resume) && parsed.GetValue(folder) is null)
            {
                parsed.AddError("--resume needs the folder of the run: --checkpoint DIR");
            }

            parsed.RequireBeside(parsed.GetValue(neutral) is null, "--neutral FILE, on which KL is measured", klBudget);

            var sets = parsed.GetValue(data)?.Length ?? 0;
            if (!several && new[] { data, validationData, validation, test, label }.FirstOrDefault(o => parsed.GetValue(o)?.Length > 1) is { } twice)
            {
                parsed.AddError($"{twice.Name} is given {parsed.GetValue(twice)!.Length} times; this command takes one data set");
            }

            foreach (var (option, shareable) in new[] { (validationData, false), (validation, true), (test, true), (label, false) })
            {
                if (parsed.GetValue(option)?.Length is { } given && given != 0 && given != sets && !(given == 1 && shareable))
                {
                    parsed.AddError($"{option.Name} is given {given} times and --data {sets} times: give {(shareable ? "one for all, or " : "")}one for each data set, in the same order");
                }
            }

            if (sets > 1 && Names(parsed.GetValue(data)!, parsed.GetValue(label) ?? []) is var names && names.Distinct(StringComparer.OrdinalIgnoreCase).Count() < names.Count)
            {
                parsed.AddError($"data sets must differ in name, found {string.Join(", ", names)}; name them with --label");
            }
        });
    }

    /// <summary>Refuses what would not act on the methods that are trained.</summary>
    /// <param name="result">What was typed.</param>
    /// <param name="methods">Their names.</param>
    /// <param name="features">The command's own option for the number of latents.</param>
    /// <param name="rates">The command's own option for learning rates; null: none.</param>
    public void RefuseIdle(CommandResult result, IReadOnlyList<string> methods, Option features, Option? rates)
    {
        void Only(string[] names, params ReadOnlySpan<Option?> options)
        {
            if (names.Intersect(methods).Any())
            {
                return;
            }

            foreach (var option in options)
            {
                result.RequireBeside(option is not null && several, $"{string.Join(" or ", names)} among --methods", option is null ? [] : [option]);
                result.RefuseBeside(option is not null && !several, $"--method {methods[0]}", option is null ? [] : [option]);
            }
        }

        Only(["yapo", "bipo"], steps, batch, several ? null : rate, validationData, rates);
        Only(["yapo"], features, refit, l1);
        result.RefuseBeside(rates is not null && !several && result.Given(rates), "--rates, which names the candidates", rate);
    }

    public ExperimentSettings Read(ParseResult parsed)
    {
        var sets = Sets(parsed);
        return new ExperimentSettings(
            sets[0].Data, sets[0].ValidationData, sets[0].Validation, sets[0].Test, parsed.GetValue(neutral), parsed.GetValue(klBudget), sets[0].Label, parsed.GetValue(promptOnly),
            new VectorOptimizerOptions
            {
                Steps = parsed.GetValue(steps),
                BatchSize = parsed.GetValue(batch),
                LearningRate = several ? Defaults.LearningRate : parsed.GetValue(rate),
                RefitSteps = parsed.GetValue(refit),
                L1 = parsed.GetValue(l1),
                Seed = parsed.GetValue(seed),
                WarmupSteps = Math.Min(Defaults.WarmupSteps, parsed.GetValue(steps)),
            },
            parsed.GetValue(folder), parsed.GetValue(resume), parsed.GetValue(json), parsed.GetValue(report), parsed.GetValue(workers), engine.Read(parsed)) { Sets = sets, ValidationKnowledge = parsed.GetValue(validationKnowledge) };
    }

    private List<ExperimentData> Sets(ParseResult parsed)
    {
        string? At(Option<string[]> option, int i) => parsed.GetValue(option) is { Length: > 0 } given ? given[given.Length == 1 ? 0 : i] : null;
        var files = parsed.GetRequiredValue(data);
        var names = Names(files, parsed.GetValue(label) ?? []);
        return [.. files.Select((file, i) => new ExperimentData(names[i], file, At(validationData, i), At(validation, i)!, At(test, i), At(label, i)))];
    }

    private static List<string> Names(string[] files, string[] labels) => [.. files.Select((file, i) => i < labels.Length ? labels[i] : Path.GetFileNameWithoutExtension(file))];
}

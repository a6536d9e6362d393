using System.CommandLine;
using System.Text.Json.Nodes;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Cli.Experiments;

/// <summary>What every command that trains vectors and judges them takes, as given.</summary>
internal sealed record ExperimentSettings(
    string Data, string? ValidationData, string Validation, string? Test, string? Neutral, double KlBudget, string? Label, string? PromptOnly, VectorOptimizerOptions Optimizer,
    string? Folder, bool Resume, bool Json, string? Report, int Workers, EngineSettings Engine)
{
    private const ulong SmallModel = 50_000_000;
    private const int LongestNeutral = 256;
    private const int MostNeutral = 2048;

    /// <summary>Every file that is read.</summary>
    public IEnumerable<string> Inputs => new[] { Data, ValidationData, Validation, Test, Neutral }.OfType<string>();

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
        Workers = Workers > 0 ? Workers : model.Info.ParameterCount < SmallModel ? Environment.ProcessorCount : 1,
    });

    /// <summary>Neutral text, or none.</summary>
    public List<Llama.Evaluation.Suites.ReadText>? NeutralText(SteeredScorer scorer) => Neutral is null ? null : Llama.Evaluation.Suites.ReadText.Load(Neutral, scorer, LongestNeutral, MostNeutral);

    // On small models threads only wait for each other.
    private int ThreadsFor(LlamaModel model) => Engine.Threads > 0 ? Engine.Threads : model.Info.ParameterCount < SmallModel ? 1 : 0;

    /// <summary>Canonical JSON of what decides the numbers, file contents included.</summary>
    public string Config(string command, IEnumerable<string> files, JsonObject own)
    {
        var json = new JsonObject
        {
            ["command"] = command,
            ["training"] = JsonNode.Parse((Training("") with { Method = SteeringMethod.Yapo }).ToCanonicalJson(0)),
            ["seed"] = Optimizer.Seed,
            ["kl_budget"] = KlBudget,
            ["label"] = Label,
            ["prompt_only"] = PromptOnly,
            ["own"] = own,
            ["files"] = new JsonArray([.. Inputs.Concat(files).Select(f => (JsonNode)InputFile.Sha256(f))]),
        };
        return CanonicalJson.Write(json);
    }
}

/// <summary>The options of these commands.</summary>
internal sealed class ExperimentOptions
{
    private static readonly VectorOptimizerOptions Defaults = new();

    private readonly Option<string> data = new("--data") { Description = "Preference pairs to train on, JSON Lines of {prompt, chosen, rejected} (required).", Required = true, HelpName = "FILE.jsonl" };
    private readonly Option<string?> validationData = new("--validation-data") { Description = "Pairs that stop a training early and say how well it went (default: none).", HelpName = "FILE.jsonl" };
    private readonly Option<string> validation = new("--validation") { Description = "Questions or pairs that choose, of topics that are not in --data (required).", Required = true, HelpName = "FILE" };
    private readonly Option<string?> test = new("--test") { Description = "Questions or pairs of other topics still, measured once for what was chosen (default: none, and the report says so).", HelpName = "FILE" };
    private readonly Option<string?> neutral;
    private readonly Option<double> klBudget;
    private readonly Option<string?> label = new("--label") { Description = "Label (a culture) whose answer counts in the questions (default: what the command's output or data is named after, else each question's own answer).", HelpName = "LABEL" };
    private readonly Option<string?> promptOnly = new("--prompt-only") { Description = "Words to compare with, put in front of every question, or around it where they hold {prompt} (default: none, and the report says so).", HelpName = "TEXT" };
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
    public ExperimentOptions(double budget, bool neutralRequired)
    {
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
        foreach (Option option in new Option[] { data, validationData, validation, test, neutral, klBudget, label, promptOnly, steps, batch, rate, refit, l1, seed, folder, resume, workers, json, report })
        {
            command.Options.Add(option);
        }

        engine.AddTo(command, withContext: false);
        command.Validators.Add(parsed =>
        {
            if (parsed.GetValue(resume) && parsed.GetValue(folder) is null)
            {
                parsed.AddError("--resume needs the folder of the run: --checkpoint DIR");
            }
        });
    }

    public ExperimentSettings Read(ParseResult parsed) => new(
        parsed.GetRequiredValue(data), parsed.GetValue(validationData), parsed.GetRequiredValue(validation), parsed.GetValue(test), parsed.GetValue(neutral), parsed.GetValue(klBudget),
        parsed.GetValue(label), parsed.GetValue(promptOnly),
        new VectorOptimizerOptions
        {
            Steps = parsed.GetValue(steps),
            BatchSize = parsed.GetValue(batch),
            LearningRate = parsed.GetValue(rate),
            RefitSteps = parsed.GetValue(refit),
            L1 = parsed.GetValue(l1),
            Seed = parsed.GetValue(seed),
            WarmupSteps = Math.Min(Defaults.WarmupSteps, parsed.GetValue(steps)),
        },
        parsed.GetValue(folder), parsed.GetValue(resume), parsed.GetValue(json), parsed.GetValue(report), parsed.GetValue(workers), engine.Read(parsed));
}

using System.CommandLine;
using System.CommandLine.Parsing;
using YaPO.Llama.Cli.Options;

namespace YaPO.Llama.Cli.Evaluations;

/// <summary>What every <c>eval</c> suite takes, as given.</summary>
internal sealed record EvaluationSettings(
    IReadOnlyList<string> Data,
    string? Validation,
    IReadOnlyList<double>? Strengths,
    string? PromptOnly,
    int? Controls,
    int ControlItems,
    string? Sae,
    string? TrainData,
    string? Neutral,
    double? KlBudget,
    IReadOnlyList<double> KlBudgets,
    ulong Seed,
    bool AllowLeak,
    bool Json,
    int Workers,
    int Parallel,
    SteeringSettings Steering,
    EngineSettings Engine)
{
    /// <summary>The HTML file to write; null: none.</summary>
    public string? Report { get; init; }

    /// <summary>Questions that steering should leave alone; null: none.</summary>
    public string? Knowledge { get; init; }

    /// <summary>Questions of that kind that a chosen strength must not cost; null: none.</summary>
    public string? ValidationKnowledge { get; init; }

    /// <summary>Prompts that should be refused or answered; null: none.</summary>
    public string? Refusals { get; init; }

    /// <summary>Rules that say what a refusal is; null: the default phrases.</summary>
    public string? RefusalRules { get; init; }
}

/// <summary>The options of every <c>eval</c> suite.</summary>
internal sealed class EvaluationOptions
{
    private readonly Option<string[]> data;

    private readonly Option<string?> validation = new("--validation")
    {
        Description = "Data that chooses the strength of the vector and of every control, by one rule: the smallest not measurably worse than the best, paired over the same items (default: none, the strength of --vector is used).",
        HelpName = "FILE",
    };

    private readonly Option<NumberList> strengths = NumberList.Option(
        "--strengths", "Strengths to choose among, separated by commas, in the vector's own units (default: 0.25, 0.5, 0.75, 1, 1.5 and 2 times the strength of --vector).", "X,X,…");

    private readonly Option<string?> promptOnly = new("--prompt-only")
    {
        Description = "Words to compare the vector with, put in front of every question, or around it where they hold {prompt} (default: none, and the report says so).",
        HelpName = "TEXT",
    };

    private readonly Option<int?> controls = new Option<int?>("--controls")
    {
        Description = "Random controls of each kind; N can show p = 1/(N+1) at best, so 99 are needed for p = 0.01 and 19 for 0.05. 0: none (default: 99 where that takes a minute or two, else 19).",
        HelpName = "N",
    }.Within(0, 9999);

    private readonly Option<int> controlItems = new Option<int>("--control-items")
    {
        Description = "Items that each random control is measured on, spread over the data; the vector is measured on the same for p.",
        DefaultValueFactory = _ => 128,
        HelpName = "N",
    }.Within(1, int.MaxValue);

    private readonly Option<string?> sae = new("--sae") { Description = "SAE of the vector, for the control with random latents (default: none, and the report says so; for a vector of a TopK SAE, which needs the whole of it, the file beside the vector).", HelpName = "FILE" };
    private readonly Option<string?> trainData = new("--train-data")
    {
        Description = "Pairs that the vector was trained on: trains the controls random dictionary and random support (with --sae) and shuffled labels anew, with the vector's own settings (default: none, and the report says so).",
        HelpName = "FILE.jsonl",
    };

    private readonly Option<string?> neutral = new("--neutral")
    {
        Description = "Neutral text (.txt, or JSON Lines of {text}, {prompt, completion} or questions with a right answer): KL to the unsteered model per token, and the gain at equal KL (default: none).",
        HelpName = "FILE",
    };

    private readonly Option<double?> klBudget = new Option<double?>("--kl-budget")
    {
        Description = "With --neutral and --validation: most nats per token on neutral text that a chosen strength may cost, for every row (default: any).",
        HelpName = "NATS",
    }.Within(1e-9, 1e3);

    private readonly Option<NumberList> klBudgets = NumberList.Option(
        "--kl-budgets", "With --neutral: budgets of the gain-KL curves, in nats per token, separated by commas.", "NATS,…", 0.01, 0.03, 0.1, 0.3);

    private readonly Option<string?> knowledge = new("--knowledge") { Description = "Questions that steering should leave alone, measured beside every row (default: none).", HelpName = "FILE" };

    private readonly Option<string?> validationKnowledge = new("--validation-knowledge")
    {
        Description = "With --validation: more questions that steering should leave alone; strengths, of controls too, at which more than one point of them is lost are not chosen (default: none).",
        HelpName = "FILE",
    };

    private readonly Option<string?> refusals = new("--refusals")
    {
        Description = "Prompts that should be refused and prompts that should not, JSON Lines of {prompt, expected: refuse|answer, answer, topic}: refusal rates beside every row, and a warning where the vector lowers them (default: none).",
        HelpName = "FILE.jsonl",
    };

    private readonly Option<string?> refusalRules = new("--refusal-rules")
    {
        Description = "What counts as a refusal: a JSON file of rules as in 'eval behaviour --rules', score 1 (default: phrases such as \"I do not know\", \"I would rather not\", \"I cannot help\").",
        HelpName = "FILE.json",
    };

    private readonly Option<ulong> seed = new("--seed") { Description = "Decides the random controls.", DefaultValueFactory = _ => 0, HelpName = "N" };
    private readonly Option<bool> allowLeak = new("--allow-leak") { Description = "Go on when a test prompt also stands in the validation, few-shot or training data (default: refuse)." };

    private readonly Option<int> workers = new Option<int>("--workers")
    {
        Description = "Parts of a job side by side, each with a context of its own; results do not depend on it. 0: one per core for models below 50 M parameters, else 1.",
        DefaultValueFactory = _ => 0,
        HelpName = "N",
    }.Within(0, 256);

    private readonly Option<int> parallel = new Option<int>("--parallel")
    {
        Description = "Answers evaluated together, sharing what they begin with. 1: each depends on nothing but itself.",
        DefaultValueFactory = _ => 32,
        HelpName = "N",
    }.Within(1, 256);

    private readonly Option<bool> json = SingleOptions.Json();
    private readonly Option<string?> report = SingleOptions.Report();
    private readonly SteeringOptions steering = new(modelRequired: false, withSae: false);
    private readonly EngineOptions engine = new();

    private readonly bool withSeed;
    private readonly Func<CommandResult, bool> dataOfRefusals;

    /// <summary>The options of a suite.</summary>
    /// <param name="dataDescription">What --data is.</param>
    /// <param name="withSeed">False for a suite that has a --seed of its own.</param>
    /// <param name="dataOfRefusals">Whether --data may be judged by --refusal-rules; null: never.</param>
    public EvaluationOptions(string dataDescription, bool withSeed = true, Func<CommandResult, bool>? dataOfRefusals = null)
    {
        (this.withSeed, this.dataOfRefusals) = (withSeed, dataOfRefusals ?? (_ => false));
        data = new Option<string[]>("--data") { Description = dataDescription, Required = true, HelpName = "FILE", Arity = ArgumentArity.OneOrMore };
    }

    public void AddTo(Command command)
    {
        steering.AddTo(command);
        foreach (Option option in new Option[] { data, validation, strengths, promptOnly, controls, controlItems, sae, trainData, neutral, klBudget, klBudgets, knowledge, validationKnowledge, refusals, refusalRules, allowLeak, workers, parallel, json })
        {
            command.Options.Add(option);
        }

        if (withSeed)
        {
            command.Options.Add(seed);
        }

        command.Options.Add(report);
        engine.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.GetResult(klBudget) is { Tokens.Count: > 0 } && (result.GetValue(neutral) is null || result.GetValue(validation) is null))
            {
                result.AddError("--kl-budget needs --neutral FILE, on which KL is measured, and --validation FILE, which chooses a strength within it");
            }

            if (result.GetValue(validationKnowledge) is not null && result.GetValue(validation) is null)
            {
                result.AddError("--validation-knowledge needs --validation FILE, which chooses a strength among those that keep the knowledge");
            }

            if (result.Numbers(klBudgets).Any(b => b <= 0))
            {
                result.AddError("--kl-budgets must be above 0");
            }

            RefuseIdle(result);
        });
    }

    private void RefuseIdle(CommandResult result)
    {
        var none = result.Value(controls, null) == 0;
        if (steering.WithoutVector(result))
        {
            result.RequireBeside(true, "--vector SPEC, which it measures or is compared with", validation, strengths, promptOnly, sae, trainData, neutral, klBudget, klBudgets, validationKnowledge);
            result.RequireBeside(!none, "--vector SPEC, which it is compared with", controls, controlItems); // --controls 0 asks for what there is
        }

        result.RequireBeside(result.GetValue(refusals) is null && !dataOfRefusals(result), "--refusals FILE", refusalRules);
        if (steering.WithoutVector(result))
        {
            return;
        }

        result.RequireBeside(result.GetValue(validation) is null, "--validation FILE, which chooses among them", strengths);
        result.RequireBeside(result.GetValue(neutral) is null, "--neutral FILE, on which KL is measured", klBudgets);
        result.RefuseBeside(none && result.GetValue(neutral) is null, "--controls 0", controlItems);
    }

    public EvaluationSettings Read(ParseResult parsed) => new(
        parsed.GetRequiredValue(data),
        parsed.GetValue(validation),
        parsed.Numbers(strengths) is { Count: > 0 } given ? given : null,
        parsed.GetValue(promptOnly),
        parsed.GetValue(controls),
        parsed.GetValue(controlItems),
        parsed.GetValue(sae),
        parsed.GetValue(trainData),
        parsed.GetValue(neutral),
        parsed.GetResult(klBudget) is null ? null : parsed.GetValue(klBudget),
        parsed.Numbers(klBudgets),
        withSeed ? parsed.GetValue(seed) : 0,
        parsed.GetValue(allowLeak),
        parsed.GetValue(json),
        parsed.GetValue(workers),
        parsed.GetValue(parallel),
        steering.Read(parsed) with { Sae = parsed.GetValue(sae) },
        engine.Read(parsed))
    {
        Report = parsed.GetValue(report),
        Knowledge = parsed.GetValue(knowledge),
        ValidationKnowledge = parsed.GetValue(validationKnowledge),
        Refusals = parsed.GetValue(refusals),
        RefusalRules = parsed.GetValue(refusalRules),
    };
}

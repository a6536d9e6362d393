using System.CommandLine;
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
    ulong Seed,
    bool AllowLeak,
    bool Json,
    int Workers,
    int Parallel,
    SteeringSettings Steering,
    EngineSettings Engine);

/// <summary>The options of every <c>eval</c> suite.</summary>
internal sealed class EvaluationOptions
{
    private readonly Option<string[]> data;

    private readonly Option<string?> validation = new("--validation")
    {
        Description = "Data that chooses the strength of the vector and of every control, by one rule: the smallest within one standard error of the best (default: none, the strength of --vector is used).",
        HelpName = "FILE",
    };

    private readonly Option<double[]> strengths = new("--strengths")
    {
        Description = "Strengths to choose among, separated by commas, in the vector's own units (default: 0.25, 0.5, 0.75, 1, 1.5 and 2 times the strength of --vector).",
        HelpName = "X,X,…",
        DefaultValueFactory = _ => [],
        CustomParser = NumberList.Parse,
    };

    private readonly Option<string?> promptOnly = new("--prompt-only")
    {
        Description = "Words to compare the vector with, put in front of every question, or around it where they hold {prompt} (default: none, and the report says so).",
        HelpName = "TEXT",
    };

    private readonly Option<int?> controls = new Option<int?>("--controls")
    {
        Description = "Random controls of each kind; N can show p = 1/(N+1) at best. 0: none (default: 99 where that is cheap, else 19).",
        HelpName = "N",
    }.Within(0, 9999);

    private readonly Option<int> controlItems = new Option<int>("--control-items")
    {
        Description = "Items that each random control is measured on, spread over the data; the vector is measured on the same for p.",
        DefaultValueFactory = _ => 128,
        HelpName = "N",
    }.Within(1, int.MaxValue);

    private readonly Option<string?> sae = new("--sae") { Description = "SAE of the vector, for the control with random latents (default: none, and the report says so).", HelpName = "FILE" };
    private readonly Option<ulong> seed = new("--seed") { Description = "Decides the random controls.", DefaultValueFactory = _ => 0, HelpName = "N" };
    private readonly Option<bool> allowLeak = new("--allow-leak") { Description = "Go on when a test prompt also stands in the validation, few-shot or training data (default: refuse)." };

    private readonly Option<int> workers = new Option<int>("--workers")
    {
        Description = "Evaluations side by side, each with a context of its own. 0: one per core for models below 50 M parameters, else 1.",
        DefaultValueFactory = _ => 0,
        HelpName = "N",
    }.Within(0, 256);

    private readonly Option<int> parallel = new Option<int>("--parallel")
    {
        Description = "Answers evaluated together, sharing what they begin with. 1: each depends on nothing but itself.",
        DefaultValueFactory = _ => 64,
        HelpName = "N",
    }.Within(1, 256);

    private readonly Option<bool> json = SingleOptions.Json();
    private readonly SteeringOptions steering = new(modelRequired: false, withSae: false);
    private readonly EngineOptions engine = new();

    /// <summary><paramref name="dataDescription"/>: what --data is.</summary>
    public EvaluationOptions(string dataDescription) => data = new Option<string[]>("--data")
    {
        Description = dataDescription,
        Required = true,
        HelpName = "FILE",
        Arity = ArgumentArity.OneOrMore,
    };

    public void AddTo(Command command)
    {
        steering.AddTo(command);
        foreach (Option option in new Option[] { data, validation, strengths, promptOnly, controls, controlItems, sae, seed, allowLeak, workers, parallel, json })
        {
            command.Options.Add(option);
        }

        engine.AddTo(command);
    }

    public EvaluationSettings Read(ParseResult parsed) => new(
        parsed.GetRequiredValue(data),
        parsed.GetValue(validation),
        parsed.GetValue(strengths) is { Length: > 0 } given ? given : null,
        parsed.GetValue(promptOnly),
        parsed.GetValue(controls),
        parsed.GetValue(controlItems),
        parsed.GetValue(sae),
        parsed.GetValue(seed),
        parsed.GetValue(allowLeak),
        parsed.GetValue(json),
        parsed.GetValue(workers),
        parsed.GetValue(parallel),
        steering.Read(parsed),
        engine.Read(parsed));
}

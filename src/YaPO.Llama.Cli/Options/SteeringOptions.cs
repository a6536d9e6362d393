using System.CommandLine;
using YaPO.Llama.Cli.Errors;

namespace YaPO.Llama.Cli.Options;

/// <summary>Which model is steered by which vectors, as given.</summary>
internal sealed record SteeringSettings(string? Model, string? ModelDirectory, IReadOnlyList<string> Vectors, bool AllowMismatch)
{
    /// <summary>The SAE of vectors that need the whole encoder; null: found by its SHA-256.</summary>
    public string? Sae { get; init; }
}

/// <summary>--model, --vector and what belongs to them.</summary>
internal sealed class SteeringOptions
{
    private readonly Option<string?> model;
    private readonly bool modelRequired;
    private readonly bool withSae;

    private readonly Option<string?> modelDirectory = new("--model-dir")
    {
        Description = "Folder in which the vector's model is looked for first (default: YAPO_MODEL_DIR, models/, the cache).",
        HelpName = "DIR",
    };

    private readonly Option<string[]> vectors = new("--vector")
    {
        Description = "Steering vector FILE[:STRENGTH][@POSITIONS], repeatable; a .ysv or a control-vector GGUF. Positive strength strengthens what the vector was "
            + "trained for, negative weakens it (default: the file's recommended strength). POSITIONS: all (every position but BOS, the default; of a control vector all+bos, as llama.cpp applies it), all+bos, prompt, "
            + "generated, assistant, or START-END (zero-based, BOS counted, END included).",
        HelpName = "SPEC",
        DefaultValueFactory = _ => [],
    };

    private readonly Option<bool> allowMismatch = new("--allow-mismatch")
    {
        Description = "Attach a vector that was trained on another model, as long as d_model fits (default: refuse).",
    };

    private readonly Option<string?> sae;

    /// <summary><paramref name="modelRequired"/>: the model is not looked for by the vector.</summary>
    /// <param name="modelRequired">See above.</param>
    /// <param name="withSae">False for a command with an --sae of its own.</param>
    /// <param name="saeUse">What else the command does with the SAE, for the help.</param>
    public SteeringOptions(bool modelRequired, bool withSae = true, string saeUse = "")
    {
        sae = SaeOption(saeUse);
        this.modelRequired = modelRequired;
        this.withSae = withSae;
        model = new Option<string?>("--model", "-m")
        {
            Description = modelRequired ? "GGUF model (required)." : "GGUF model (default: the one that the first vector was trained on, found by fingerprint).",
            HelpName = "FILE",
            Required = modelRequired,
        };
    }

    /// <summary>--sae, where vectors are attached.</summary>
    internal static Option<string?> SaeOption(string use = "") => new("--sae")
    {
        Description = $"SAE GGUF of the vectors, which those of a TopK SAE need{use} (default: found by its SHA-256 beside the vector or the model).",
        HelpName = "SAE.gguf",
    };

    public void AddTo(Command command)
    {
        command.Options.Add(model);
        command.Options.Add(vectors);
        if (!modelRequired)
        {
            command.Options.Add(modelDirectory);
            command.Validators.Add(result =>
            {
                if (result.GetValue(model) is null && result.GetValue(vectors) is not { Length: > 0 })
                {
                    result.AddError("--model FILE or --vector SPEC is needed; a vector names its model by itself");
                }
            });
        }

        command.Options.Add(allowMismatch);
        if (withSae)
        {
            command.Options.Add(sae);
        }
    }

    /// <summary>Whether there is nothing to steer with.</summary>
    public bool WithoutVector(System.CommandLine.Parsing.CommandResult result) => result.GetValue(vectors) is not { Length: > 0 };

    public SteeringSettings Read(ParseResult parsed) => new(
        parsed.GetValue(model),
        modelRequired ? null : parsed.GetValue(modelDirectory),
        parsed.GetValue(vectors) ?? [],
        parsed.GetValue(allowMismatch))
    {
        Sae = withSae && parsed.GetValue(sae) is { } path ? InputFile.Require(path) : null,
    };
}

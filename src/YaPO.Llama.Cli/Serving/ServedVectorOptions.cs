using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;

namespace YaPO.Llama.Cli.Serving;

/// <summary>Which model and which vectors are served, as given.</summary>
internal sealed record ServedVectorSettings(
    string? Model, string? ModelDirectory, IReadOnlyList<string> Vectors, string? VectorDirectory, IReadOnlyList<string> Default, IReadOnlyList<string> Limits, bool AllowMismatch, string? Sae);

/// <summary>--model, --vector and what belongs to them, for a server.</summary>
internal sealed class ServedVectorOptions
{
    private readonly Option<string?> model = new("--model", "-m")
    {
        Description = "GGUF model (default: the one that the first vector was trained on, found by fingerprint).",
        HelpName = "FILE",
    };

    private readonly Option<string?> modelDirectory = new("--model-dir")
    {
        Description = "Folder in which the vector's model is looked for first (default: YAPO_MODEL_DIR, models/, the cache).",
        HelpName = "DIR",
    };

    private readonly Option<string[]> vectors = new("--vector")
    {
        Description = "Vector that requests may use, [NAME=]FILE[:STRENGTH][@POSITIONS], repeatable; NAME is the file's name unless given. STRENGTH and POSITIONS are what a "
            + "request gets that names the vector and no more (default: the file's own). Positive strength strengthens what the vector was trained for. Nothing outside this list can be used.",
        HelpName = "NAME=SPEC",
        DefaultValueFactory = _ => [],
    };

    private readonly Option<string?> vectorDirectory = new("--vector-dir")
    {
        Description = "Folder whose .ysv and control-vector GGUF files requests may use by their names; read once, at the start (default: none).",
        HelpName = "DIR",
    };

    private readonly Option<string[]> steer = new("--steer")
    {
        Description = "Steers requests that say nothing about steering, NAME[:STRENGTH][@POSITIONS] with NAME from the list, repeatable (default: they are not steered). "
            + "A request's own list, even an empty one, replaces this.",
        HelpName = "NAME",
        DefaultValueFactory = _ => [],
    };

    private readonly Option<string[]> limits = new("--strength-limit")
    {
        Description = "Least and most strength that requests may ask for, NAME=LEAST:MOST, repeatable (default: -10 to 10).",
        HelpName = "NAME=A:B",
        DefaultValueFactory = _ => [],
    };

    private readonly Option<bool> allowMismatch = new("--allow-mismatch")
    {
        Description = "Attach a vector that was trained on another model, as long as d_model fits (default: refuse).",
    };

    private readonly Option<string?> sae = SteeringOptions.SaeOption();

    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { model, vectors, vectorDirectory, steer, limits, modelDirectory, allowMismatch, sae })
        {
            command.Options.Add(option);
        }

        command.Validators.Add(result =>
        {
            if (result.GetValue(model) is null && result.GetValue(vectors) is not { Length: > 0 } && result.GetValue(vectorDirectory) is null)
            {
                result.AddError("--model FILE, --vector SPEC or --vector-dir DIR is needed; a vector names its model by itself");
            }
        });
    }

    public ServedVectorSettings Read(ParseResult parsed) => new(
        parsed.GetValue(model),
        parsed.GetValue(modelDirectory),
        parsed.GetValue(vectors) ?? [],
        parsed.GetValue(vectorDirectory),
        parsed.GetValue(steer) ?? [],
        parsed.GetValue(limits) ?? [],
        parsed.GetValue(allowMismatch),
        parsed.GetValue(sae) is { } path ? InputFile.Require(path) : null);
}

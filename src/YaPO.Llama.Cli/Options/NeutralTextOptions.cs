using System.CommandLine;
using System.CommandLine.Parsing;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Models;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Cli.Options;

/// <summary>A model and text to measure a vector on, as given; null where nothing is to be measured.</summary>
internal sealed record NeutralTextSettings(string? Model, string? Data, int Tokens, EngineSettings Engine)
{
    private const int WindowTokens = 128; // logits of a whole window are kept, V floats per token

    public bool IsGiven => Model is not null;

    /// <summary>Token windows of the text, each from its own BOS on.</summary>
    /// <exception cref="YapoException">The text is unreadable or empty.</exception>
    public List<int[]> Windows(LlamaModel loaded)
    {
        var windows = new List<int[]>();
        var left = Tokens;
        foreach (var window in TextCorpus.Read(InputFile.Require(Data!), loaded, WindowTokens))
        {
            if (window.Length < 2)
            {
                continue;
            }

            if (left < 2)
            {
                break;
            }

            windows.Add(window.Length <= left ? window : window[..left]);
            left -= window.Length;
        }

        return windows.Count > 0 ? windows : throw new YapoException(YapoErrorKind.Format, $"{Data} holds no text of two tokens");
    }
}

/// <summary>--model and --data of the vector commands that measure what they change.</summary>
internal sealed class NeutralTextOptions
{
    private readonly Option<string?> model = new("--model", "-m") { Description = "GGUF model to measure on (default: none, nothing is measured).", HelpName = "FILE" };

    private readonly Option<string?> data = new("--data")
    {
        Description = "Neutral text to measure on: paragraphs, or .jsonl lines with \"text\" or \"messages\"; not what the vector is about (default: none; needed with --model).",
        HelpName = "FILE",
    };

    private readonly Option<int> tokens = new Option<int>("--tokens") { Description = "Tokens of --data to use at most.", DefaultValueFactory = _ => 2048, HelpName = "N" }.Within(2, 100_000_000);
    private readonly EngineOptions engine = new();

    public void AddTo(Command command)
    {
        command.Options.Add(model);
        command.Options.Add(data);
        command.Options.Add(tokens);
        engine.AddTo(command, withContext: false);
        command.Validators.Add(result =>
        {
            if ((result.GetValue(model) is null) != (result.GetValue(data) is null))
            {
                result.AddError("--model and --data belong together: measuring needs both");
            }
        });
    }

    /// <summary>Whether there is something to measure on.</summary>
    public bool Given(CommandResult result) => result.GetValue(model) is not null;

    public NeutralTextSettings Read(ParseResult parsed) => new(parsed.GetValue(model), parsed.GetValue(data), parsed.GetValue(tokens), engine.Read(parsed));
}

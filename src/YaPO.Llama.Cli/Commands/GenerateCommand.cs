using System.CommandLine;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;
using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>generate</c>: answers to one prompt or to a file of them.</summary>
internal static class GenerateCommand
{
    private const int DefaultMaxTokens = 256;

    internal sealed record Options(
        string? Prompt, string? Input, bool Raw, string? System, bool Compare, SteeringSettings Steering, EngineSettings Engine, SamplingSettings Sampling, bool Json);

    public static Command Build(CommandConsole console)
    {
        var prompt = new Option<string?>("-p", "--prompt") { Description = "Prompt: a user turn, formatted by the model's chat template (default: none; give this or --input).", HelpName = "TEXT" };
        var input = new Option<string?>("--input", "-i")
        {
            Description = "JSON Lines of prompts, {\"prompt\": \"..\" or [{\"role\", \"content\"}..], \"id\": any}; '-' reads stdin; answers come as JSON Lines (default: none).",
            HelpName = "FILE.jsonl",
        };
        var raw = new Option<bool>("--raw") { Description = "Take prompts as raw text to continue, without the chat template (default: off; base models without a template are always raw)." };
        var system = new Option<string?>("--system") { Description = "Instructions in front of each conversation (default: none).", HelpName = "TEXT" };
        var compare = new Option<bool>("--compare") { Description = "Also give the answer without steering, from the same seed (default: off)." };
        var steering = new SteeringOptions(modelRequired: false);
        var sampling = new SamplingOptions(DefaultMaxTokens);
        var engine = new EngineOptions();
        var json = SingleOptions.Json();
        var command = new Command("generate", "Answer one prompt, or a file of them, steered.") { prompt, input, raw, system, compare };
        steering.AddTo(command);
        sampling.AddTo(command);
        engine.AddTo(command);
        command.Options.Add(json);
        command.Validators.Add(result =>
        {
            if (result.GetValue(prompt) is null == result.GetValue(input) is null)
            {
                result.AddError("give either -p TEXT or --input FILE.jsonl");
            }

            if (result.GetValue(raw) && result.GetValue(system) is not null)
            {
                result.AddError("--raw has no conversation that --system could stand in front of");
            }
        });
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetValue(prompt), parsed.GetValue(input), parsed.GetValue(raw), parsed.GetValue(system), parsed.GetValue(compare),
                steering.Read(parsed), engine.Read(parsed), sampling.Read(parsed), parsed.GetValue(json)),
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var prompts = ReadPrompts(options, console); // all of them first: a malformed last line should not cost an hour
        using var steered = SteeredModel.Open(options.Steering, options.Engine, console, cancellation);
        var raw = options.Raw;
        if (!raw && !steered.Model.HasChatTemplate)
        {
            console.Note("the model has no chat template: prompts are raw text");
            raw = true;
        }

        using var run = new GenerationRun(steered, options, raw, prompts);
        if (options.Input is null)
        {
            var answer = await run.AnswerAsync(prompts[0], options.Json ? null : console.Out, cancellation).ConfigureAwait(false);
            if (options.Json)
            {
                console.WriteJson(run.Document(0, prompts[0], answer));
            }

            return ExitCodes.Success;
        }

        using var progress = console.Progress("generating", prompts.Count, "prompts");
        for (var i = 0; i < prompts.Count; i++)
        {
            var answer = await run.AnswerAsync(prompts[i], null, cancellation).ConfigureAwait(false);
            console.WriteJsonLine(run.Document(i, prompts[i], answer));
            progress.Report(i + 1);
        }

        return ExitCodes.Success;
    }

    private static List<PromptItem> ReadPrompts(Options options, CommandConsole console)
    {
        if (options.Prompt is { } text)
        {
            return string.IsNullOrWhiteSpace(text)
                ? throw new YapoException(YapoErrorKind.InvalidArgument, "-p is empty; give a prompt")
                : [new PromptItem([ChatMessage.User(text)], text, null, new Dictionary<string, string>(), 1)];
        }

        return console.ReadJsonLines(options.Input!, line =>
        {
            var item = PromptItem.Convert(line);
            var last = item.Messages[^1];
            if (last.Role != ChatMessage.UserRole)
            {
                throw line.Bad($"the last message must be the user's, found the {last.Role}'s");
            }

            if (string.IsNullOrWhiteSpace(last.Content))
            {
                throw line.Bad("the prompt is empty");
            }

            return options.Raw && item.Text is null ? throw line.Bad("with --raw the prompt must be a string, found a list of messages") : item;
        });
    }
}

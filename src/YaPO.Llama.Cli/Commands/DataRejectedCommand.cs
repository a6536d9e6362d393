using System.CommandLine;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Commands;

/// <summary>
/// <c>data rejected</c>: the model's own answers to prompts with trusted answers, which become the rejected half of preference pairs. Goes on after any interruption, to the same bytes.
/// </summary>
internal static class DataRejectedCommand
{
    private const string Rejected = "rejected";
    private static readonly JsonWriterOptions Relaxed = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    internal sealed record Options(string Model, string Input, string Output, string? System, int Parallel, bool Json, SamplingSettings Sampling, EngineSettings Engine);

    public static Command Build(CommandConsole console)
    {
        var model = new Option<string>("--model", "-m") { Description = "GGUF model whose answers are rejected: the one that is to be trained (required).", Required = true, HelpName = "FILE" };
        var input = new Option<string>("--input", "-i") { Description = "JSON Lines of {prompt, chosen}; other fields are kept (required).", Required = true, HelpName = "FILE.jsonl" };
        var output = SingleOptions.Output("JSON Lines of {prompt, chosen, rejected}; settings go to FILE.settings.json beside it. File");
        var system = new Option<string?>("--system") { Description = "Instructions in front of each prompt (default: none).", HelpName = "TEXT" };
        var parallel = new Option<int>("--parallel") { Description = "Prompts answered together; part of the settings, since rounding depends on it.", DefaultValueFactory = _ => 16, HelpName = "N" }.Within(1, 256);
        var json = SingleOptions.Json();
        var sampling = new SamplingOptions(256);
        var engine = new EngineOptions();
        var command = new Command("rejected", "Generate the on-policy rejected answers that make preference pairs; resumes where it was interrupted.") { model, input, output, system, parallel };
        sampling.AddTo(command);
        engine.AddTo(command, withContext: false);
        command.Options.Add(json);
        return command.Handle(
            console,
            parsed => new Options(
                parsed.GetRequiredValue(model), parsed.GetRequiredValue(input), parsed.GetRequiredValue(output), parsed.GetValue(system), parsed.GetValue(parallel), parsed.GetValue(json),
                sampling.Read(parsed), engine.Read(parsed)),
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var items = console.ReadJsonLines(options.Input, Read);
        OutputFile.Require(options.Output, options.Input, options.Model);
        using var steered = SteeredModel.Open(new SteeringSettings(options.Model, null, [], false), options.Engine, console, cancellation);
        var format = new PromptFormat(steered.Model);
        var prompts = items.Select((item, i) => Prompt(format, item, options, steered.Model, i)).ToList();
        using var lines = ResumableLines.Open(options.Output, Settings(options, steered, cancellation), options.Parallel);
        lines.Check((i, line) => Problem(items, i, line));
        if (lines.Done > 0)
        {
            console.Note($"going on behind {lines.Done} of {items.Count} prompts that were answered before");
        }

        try
        {
            await Task.Run(() => Generate(options, steered, items, prompts, lines, console, cancellation), CancellationToken.None).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            console.EndProgress();
            console.Note($"stopped; {lines.Done} of {items.Count} answers are in {ResumableLines.PartialPath(options.Output)}. Go on with the same command.");
            throw;
        }

        var (same, empty) = (0, 0);
        lines.Finish(line =>
        {
            var pair = JsonNode.Parse(line)!;
            var rejected = pair[Rejected]!.GetValue<string>();
            empty += rejected.Length == 0 ? 1 : 0;
            var equal = pair["chosen"] is JsonValue chosen && chosen.TryGetValue<string>(out var text) && text.Trim() == rejected.Trim();
            same += equal ? 1 : 0;
            return rejected.Length > 0 && !equal;
        });
        var written = items.Count - same - empty;
        if (options.Json)
        {
            console.WriteJson(new { options.Output, Pairs = written, SameAsChosen = same, Empty = empty });
        }
        else
        {
            console.Out.WriteLine($"wrote {options.Output}: {written} pairs; left out {same} whose answer is the chosen one and {empty} without an answer");
        }

        return ExitCodes.Success;
    }

    private sealed record Item(PromptItem Prompt, string Json);

    private static Item Read(JsonLine line)
    {
        _ = line.Messages("chosen", ChatMessage.AssistantRole);
        var prompt = PromptItem.Convert(line);
        return prompt.Messages[^1].Role == ChatMessage.UserRole ? new Item(prompt, line.Root.GetRawText()) : throw line.Bad($"the prompt must end with the user's turn, found the {prompt.Messages[^1].Role}'s");
    }

    private static BatchPrompt Prompt(PromptFormat format, Item item, Options options, LlamaModel model, int index)
    {
        IReadOnlyList<ChatMessage> messages = options.System is null ? item.Prompt.Messages : [ChatMessage.System(options.System), .. item.Prompt.Messages];
        var tokens = format.Prompt(messages);
        return tokens.Length < model.Info.TrainingContext
            ? new BatchPrompt(tokens, Seed(options.Sampling.Seed, index))
            : throw new YapoException(YapoErrorKind.Mismatch, $"{options.Input}, line {item.Prompt.Line}: the prompt has {tokens.Length} tokens, the model reads {model.Info.TrainingContext} with the answer");
    }

    /// <summary>Each prompt has a seed of its own, so that an answer does not depend on how many were sampled before it.</summary>
    private static uint Seed(uint seed, int index)
    {
        var z = ((ulong)seed << 32) + (uint)index + 0x9e3779b97f4a7c15UL;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
        return (uint)(z ^ (z >> 31));
    }

    private static void Generate(
        Options options, SteeredModel steered, List<Item> items, List<BatchPrompt> prompts, ResumableLines lines, CommandConsole console, CancellationToken cancellation)
    {
        if (lines.Done == items.Count)
        {
            return;
        }

        var generation = options.Sampling.ToGeneration();
        using var context = new LlamaContext(steered.Model, new ContextOptions
        {
            ContextSize = BatchGenerator.CellsFor(prompts, options.Parallel, generation.MaxTokens),
            Sequences = options.Parallel,
            Threads = steered.ContextFor(1).Threads,
        });
        var generator = new BatchGenerator(context);
        using var progress = console.Progress("answering", items.Count, "prompts");
        var clock = System.Diagnostics.Stopwatch.StartNew();
        foreach (var group in Enumerable.Range(lines.Done, items.Count - lines.Done).Chunk(options.Parallel))
        {
            var answers = generator.Generate(group.Select(i => prompts[i]), [], generation, cancellation).ToList();
            lines.Add([.. group.Zip(answers, (i, answer) => Line(items[i].Json, answer.Text))]);
            progress.Report(lines.Done, $"{generator.EvaluatedTokens / clock.Elapsed.TotalSeconds:0} tok/s");
        }
    }

    /// <summary>The input line with the answer as its field "rejected".</summary>
    private static string Line(string input, string answer)
    {
        using var document = JsonDocument.Parse(input);
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, Relaxed))
        {
            writer.WriteStartObject();
            foreach (var field in document.RootElement.EnumerateObject().Where(f => f.Name != Rejected))
            {
                field.WriteTo(writer);
            }

            writer.WriteString(Rejected, answer.Trim());
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }

    /// <summary>What is wrong with line i of an earlier run: it must be the input with some answer.</summary>
    private static string? Problem(List<Item> items, int i, string line)
    {
        try
        {
            return i < items.Count && JsonNode.Parse(line)?[Rejected]?.GetValue<string>() is { } answer && Line(items[i].Json, answer) == line ? null : "it is not the input's with an answer";
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            return e.Message;
        }
    }

    /// <summary>Everything that decides the bytes of the output.</summary>
    private static string Settings(Options options, SteeredModel steered, CancellationToken cancellation)
    {
        var sampling = options.Sampling;
        return CanonicalJson.Write(new JsonObject
        {
            ["model"] = Path.GetFileName(options.Model),
            ["model_fingerprint"] = steered.Identity.Fingerprint,
            ["model_sha256"] = IO.InputFile.Sha256(options.Model, cancellation),
            ["input_sha256"] = IO.InputFile.Sha256(options.Input, cancellation),
            ["system"] = options.System,
            ["parallel"] = options.Parallel,
            ["sampling"] = new JsonObject
            {
                ["max_tokens"] = sampling.MaxTokens,
                ["temperature"] = sampling.Temperature,
                ["top_k"] = sampling.TopK,
                ["top_p"] = sampling.TopP,
                ["min_p"] = sampling.MinP,
                ["repeat_penalty"] = sampling.RepeatPenalty,
                ["seed"] = sampling.Seed,
            },
        });
    }
}

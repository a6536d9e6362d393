using System.CommandLine;
using System.Text.Json.Nodes;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>score</c>: log-probabilities of given completions, the numeric ground truth for everything else.</summary>
internal static class ScoreCommand
{
    internal sealed record Options(string Input, int Top, int Parallel, SteeringSettings Steering, EngineSettings Engine);

    public static Command Build(CommandConsole console)
    {
        var input = new Option<string>("--input", "-i")
        {
            Description = "JSON Lines, {\"prompt\", \"completion\"} (raw text, tokenized separately, special tokens parsed, BOS as the model wants) or "
                + "{\"prompt_tokens\", \"completion_tokens\"} (exact ids); '-' reads stdin (required).",
            Required = true,
            HelpName = "FILE.jsonl",
        };
        var top = new Option<int>("--top") { Description = "Also give the N likeliest tokens at each completion position.", DefaultValueFactory = _ => 0, HelpName = "N" }.Within(0, 1_000_000);
        var parallel = new Option<int>("--parallel")
        {
            Description = "Lines evaluated together, sharing what they begin with: faster, equal to rounding. 1: each line depends on nothing but itself.",
            DefaultValueFactory = _ => 1,
            HelpName = "N",
        }.Within(1, 256);
        var json = new Option<bool>("--json") { Description = "Print JSON Lines, one per input line (always on here; accepted for symmetry, default: on)." };
        var steering = new SteeringOptions(modelRequired: true);
        var engine = new EngineOptions();
        var command = new Command("score", "Log-probabilities (in nats) of given completions.") { input, top, parallel, json };
        steering.AddTo(command);
        engine.AddTo(command);
        return command.Handle(
            console,
            parsed => new Options(parsed.GetRequiredValue(input), parsed.GetValue(top), parsed.GetValue(parallel), steering.Read(parsed), engine.Read(parsed)),
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var items = console.ReadJsonLines(options.Input, ScoreItem.Convert);
        using var steered = SteeredModel.Open(options.Steering, options.Engine, console, cancellation);
        var source = options.Input == "-" ? "stdin" : options.Input;
        var requests = items.Select(item => Request(steered.Model, item, source)).ToList();
        var longest = requests.Max(r => r.Prompt.Count + r.Completion.Count);
        var context = steered.ContextFor(longest * options.Parallel) with { Sequences = options.Parallel };
        if (longest > context.ContextSize)
        {
            var line = items[requests.FindIndex(r => r.Prompt.Count + r.Completion.Count == longest)].Line;
            throw new YapoException(
                YapoErrorKind.Mismatch,
                $"{source}, line {line}: prompt and completion have {longest} tokens, the context holds {context.ContextSize}; shorten them or use a larger --ctx-size");
        }

        using var scorer = new Scorer(steered.Model, new ScorerOptions { Context = context, Top = options.Top }, steered.Steering);
        using var progress = console.Progress("scoring", items.Count, "lines");
        await Task.Run(
            () =>
            {
                var index = 0;
                foreach (var result in scorer.Score(requests, cancellation))
                {
                    console.WriteJsonLine(Document(index, items[index], result));
                    progress.Report(++index);
                }
            },
            CancellationToken.None).ConfigureAwait(false);
        return ExitCodes.Success;
    }

    private static ScoreRequest Request(LlamaModel model, ScoreItem item, string source)
    {
        if (item.CompletionTokens is null)
        {
            var request = ScoreRequest.FromText(model, item.Prompt!, item.Completion!);
            return request.Prompt.Count > 0 ? request : throw Bad("the prompt has no token (this model adds no BOS), and the first completion token needs one before it");
        }

        var unknown = item.PromptTokens!.Concat(item.CompletionTokens).FirstOrDefault(id => id >= model.Info.VocabularySize, -1);
        return unknown >= 0 ? throw Bad($"token id {unknown} is unknown; the vocabulary has ids 0 to {model.Info.VocabularySize - 1}")
            : item.PromptTokens!.Count == 0 ? throw Bad("prompt_tokens is empty, and the first completion token needs one before it; give at least BOS")
            : new ScoreRequest(item.PromptTokens, item.CompletionTokens);

        YapoException Bad(string message) => new(YapoErrorKind.Format, $"{source}, line {item.Line}: {message}");
    }

    private static object Document(int index, ScoreItem item, ScoreResult result) => new
    {
        Index = index,
        Id = item.Id is { } id ? JsonNode.Parse(id) : null,
        Logprob = result.LogProb,
        TokenLogprobs = result.TokenLogProbs,
        result.Tokens,
        Top = result.Top.Count == 0 ? null : result.Top.Select(position => position.Select(t => new { t.Token, Logprob = t.LogProb })),
    };
}

using System.Text.Json.Nodes;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Datasets;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Commands;

/// <summary>The sessions of one <c>generate</c>: steered, and unsteered where it compares. Every prompt starts afresh.</summary>
internal sealed class GenerationRun : IDisposable
{
    private readonly SteeredModel _steered;
    private readonly bool _raw;
    private readonly GenerationOptions _generation;
    private readonly SteeredSession _session;
    private readonly SteeredSession? _plain;

    public GenerationRun(SteeredModel steered, GenerateCommand.Options options, bool raw, IReadOnlyList<PromptItem> prompts)
    {
        _steered = steered;
        _raw = raw;
        _generation = options.Sampling.ToGeneration();
        var lengths = prompts.Select(p => CountTokens(p, options.System)).ToList();
        var context = steered.ContextFor((int)Math.Min(int.MaxValue, (long)lengths.Max() + _generation.MaxTokens));
        if (lengths.FindIndex(n => n >= context.ContextSize) is var tooLong and >= 0)
        {
            var where = options.Input is null ? "-p" : $"{options.Input}, line {prompts[tooLong].Line}";
            throw new YapoException(
                YapoErrorKind.Mismatch,
                $"{where}: the prompt has {lengths[tooLong]} tokens, the context holds {context.ContextSize} with the answer; shorten it or use a larger --ctx-size (the model was trained with {steered.Model.Info.TrainingContext})");
        }

        var sessionOptions = new SessionOptions { Context = context, System = options.System };
        _session = new SteeredSession(steered.Model, sessionOptions, steered.Steering);
        try
        {
            _plain = options.Compare ? new SteeredSession(steered.Model, sessionOptions) : null;
        }
        catch
        {
            _session.Dispose();
            throw;
        }
    }

    /// <summary>An answer, and the unsteered one where it compares.</summary>
    public sealed record Answers(GeneratedAnswer Steered, GeneratedAnswer? Baseline);

    /// <summary>Answers a prompt; streams the text to <paramref name="output"/> when given.</summary>
    public async Task<Answers> AnswerAsync(PromptItem prompt, TextWriter? output, CancellationToken cancellation)
    {
        if (_plain is not null)
        {
            output?.WriteLine("steered:");
        }

        var steered = await StreamAsync(_session, prompt, output, cancellation).ConfigureAwait(false);
        if (_plain is null)
        {
            return new Answers(steered, null);
        }

        output?.WriteLine();
        output?.WriteLine("unsteered:");
        return new Answers(steered, await StreamAsync(_plain, prompt, output, cancellation).ConfigureAwait(false));
    }

    /// <summary>The JSON of an answer: {"index", "id", "text", "tokens", "finish", "baseline", ..}.</summary>
    public object Document(int index, PromptItem prompt, Answers answers) => new
    {
        Index = index,
        Id = prompt.Id is { } id ? JsonNode.Parse(id) : null,
        answers.Steered.Text,
        answers.Steered.Tokens,
        Finish = Finish(answers.Steered),
        Baseline = answers.Baseline?.Text,
        BaselineTokens = answers.Baseline?.Tokens,
        answers.Steered.PromptTokens,
        Vectors = _steered.Vectors.Count == 0 ? null : _steered.Vectors.Select(v => new { v.Path, Strengths = v.Settings.Select(s => s.Strength) }),
    };

    public void Dispose()
    {
        _plain?.Dispose();
        _session.Dispose();
    }

    private static string Finish(GeneratedAnswer answer) => answer.Finish == FinishReason.Stop ? "stop" : "length";

    private async Task<GeneratedAnswer> StreamAsync(SteeredSession session, PromptItem prompt, TextWriter? output, CancellationToken cancellation)
    {
        IAsyncEnumerable<string> pieces;
        if (_raw)
        {
            pieces = session.CompleteAsync(RawText(prompt), _generation, cancellation);
        }
        else
        {
            session.Reset();
            foreach (var message in prompt.Messages)
            {
                session.Add(message);
            }

            pieces = session.AnswerAsync(_generation, cancellation);
        }

        await foreach (var piece in pieces.ConfigureAwait(false))
        {
            output?.Write(piece);
        }

        output?.WriteLine();
        return session.LastAnswer!;
    }

    private int CountTokens(PromptItem prompt, string? system)
    {
        if (_raw)
        {
            return _steered.Model.Tokenize(RawText(prompt)).Length;
        }

        IReadOnlyList<ChatMessage> messages = system is null ? prompt.Messages : [ChatMessage.System(system), .. prompt.Messages];
        return _steered.Model.TokenizeChat(_steered.Model.FormatChat(messages)).Length;
    }

    private static string RawText(PromptItem prompt) => prompt.Text
        ?? throw new YapoException(YapoErrorKind.Unsupported, $"line {prompt.Line}: the model has no chat template for a list of messages; give a string");
}

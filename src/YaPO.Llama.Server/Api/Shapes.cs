using System.Text.Json.Serialization;
using YaPO.Llama.Batching;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Server.Api;

/// <summary>Tokens of a request.</summary>
internal sealed record Usage(int PromptTokens, int CompletionTokens, int TotalTokens, PromptDetails PromptTokensDetails)
{
    public static Usage Of(IReadOnlyList<AnswerSummary> answers, int choicesPerPrompt)
    {
        // As OpenAI counts: a prompt once, however many answers it has.
        var prompts = answers.Where((_, i) => i % choicesPerPrompt == 0).ToList();
        var (prompt, completion) = (prompts.Sum(a => a.PromptTokens), answers.Sum(a => a.GeneratedTokens));
        return new Usage(prompt, completion, prompt + completion, new PromptDetails(prompts.Sum(a => a.CachedTokens)));
    }
}

/// <summary>Of the prompt tokens, how many were not computed again.</summary>
internal sealed record PromptDetails(int CachedTokens);

/// <summary>Where the time of an answer went, in milliseconds.</summary>
internal sealed record Timings(double QueueMs, double PromptMs, double GenerationMs, double TokensPerSecond)
{
    public static Timings Of(AnswerSummary a) => new(
        Math.Round(a.QueueTime.TotalMilliseconds, 3),
        Math.Round(a.PromptTime.TotalMilliseconds, 3),
        Math.Round(a.GenerationTime.TotalMilliseconds, 3),

        // The first token came with the prompt's time.
        a.GeneratedTokens > 1 && a.GenerationTime > TimeSpan.Zero ? Math.Round((a.GeneratedTokens - 1) / a.GenerationTime.TotalSeconds, 2) : 0);
}

/// <summary>A chat or text completion, or a chunk of one.</summary>
internal sealed record Completion(
    string Id,
    string Object,
    long Created,
    string Model,
    IReadOnlyList<object> Choices,
    Usage? Usage = null,
    Timings? Timings = null,
    IReadOnlyList<ActingVector>? Steering = null);

/// <summary>A vector that steered the answer.</summary>
internal sealed record ActingVector(string Vector, float? Strength, string? Positions);

/// <summary>A message of the model.</summary>
internal sealed record AnswerMessage(
    string Role, string Content, [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Refusal = null);

/// <summary>What a chunk adds to a message.</summary>
internal sealed record Delta(string? Role, string? Content);

/// <summary>A whole answer of a chat.</summary>
internal sealed record ChatChoice(
    int Index,
    AnswerMessage Message,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] ChatLogProbs? Logprobs,
    string FinishReason);

/// <summary>A piece of an answer of a chat.</summary>
internal sealed record ChatChunk(
    int Index,
    Delta Delta,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] ChatLogProbs? Logprobs,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? FinishReason);

/// <summary>Log-probabilities as chats give them.</summary>
internal sealed record ChatLogProbs(IReadOnlyList<ChatLogProb> Content);

/// <summary>A token, and what else it could have been.</summary>
internal sealed record ChatLogProb(string Token, double Logprob, IReadOnlyList<int> Bytes, IReadOnlyList<ChatLogProb>? TopLogprobs);

/// <summary>An answer of a text completion, whole or a piece.</summary>
internal sealed record TextChoice(
    int Index,
    string Text,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] TextLogProbs? Logprobs,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? FinishReason);

/// <summary>Log-probabilities as text completions give them.</summary>
internal sealed record TextLogProbs(
    IReadOnlyList<string> Tokens, IReadOnlyList<double> TokenLogprobs, IReadOnlyList<Dictionary<string, double>> TopLogprobs, IReadOnlyList<int> TextOffset);

/// <summary>Words of the API.</summary>
internal static class Words
{
    public static string Of(FinishReason reason) => reason == FinishReason.Length ? "length" : "stop";
}

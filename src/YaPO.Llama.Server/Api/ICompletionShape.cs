using YaPO.Llama.Batching;

namespace YaPO.Llama.Server.Api;

/// <summary>How answers of one endpoint look in JSON; everything else about running them is the same.</summary>
internal interface ICompletionShape
{
    /// <summary>What ids begin with.</summary>
    string IdPrefix { get; }

    /// <summary>The object's name, whole.</summary>
    string Object { get; }

    /// <summary>The object's name in a stream.</summary>
    string ChunkObject { get; }

    /// <summary>A whole answer.</summary>
    object Whole(int index, string text, IReadOnlyList<SampledToken>? logprobs, string finish);

    /// <summary>A piece.</summary>
    object Piece(int index, string text, bool first, IReadOnlyList<SampledToken>? logprobs, string? finish);
}

/// <summary><c>/v1/chat/completions</c>.</summary>
internal sealed class ChatShape(PromptEncoder encoder) : ICompletionShape
{
    public string IdPrefix => "chatcmpl-";

    public string Object => "chat.completion";

    public string ChunkObject => "chat.completion.chunk";

    public object Whole(int index, string text, IReadOnlyList<SampledToken>? logprobs, string finish) =>
        new ChatChoice(index, new AnswerMessage("assistant", text), LogProbs(logprobs), finish);

    public object Piece(int index, string text, bool first, IReadOnlyList<SampledToken>? logprobs, string? finish) =>
        new ChatChunk(index, new Delta(first ? "assistant" : null, text.Length > 0 || first ? text : null), LogProbs(logprobs), finish);

    private ChatLogProbs? LogProbs(IReadOnlyList<SampledToken>? tokens) => tokens is null ? null : new ChatLogProbs(
        [.. tokens.Select(t => One(t.Id, t.LogProb) with { TopLogprobs = [.. t.Top.Select(o => One(o.Token, o.LogProb))] })]);

    private ChatLogProb One(int id, double logprob)
    {
        var (text, bytes) = encoder.Piece(id);
        return new ChatLogProb(text, logprob, [.. bytes.Select(b => (int)b)], null);
    }
}

/// <summary><c>/v1/completions</c>.</summary>
internal sealed class TextShape(PromptEncoder encoder) : ICompletionShape
{
    public string IdPrefix => "cmpl-";

    public string Object => "text_completion";

    public string ChunkObject => "text_completion";

    public object Whole(int index, string text, IReadOnlyList<SampledToken>? logprobs, string finish) => new TextChoice(index, text, LogProbs(logprobs), finish);

    public object Piece(int index, string text, bool first, IReadOnlyList<SampledToken>? logprobs, string? finish) =>
        new TextChoice(index, text, LogProbs(logprobs), finish);

    private TextLogProbs? LogProbs(IReadOnlyList<SampledToken>? tokens) => tokens is null ? null : new TextLogProbs(
        [.. tokens.Select(t => encoder.Piece(t.Id).Text)], [.. tokens.Select(t => t.LogProb)], [.. tokens.Select(Top)], [.. tokens.Select(t => t.TextStart)]);

    private Dictionary<string, double> Top(SampledToken token)
    {
        var top = new Dictionary<string, double>();
        foreach (var (id, logprob) in token.Top)
        {
            top.TryAdd(encoder.Piece(id).Text, logprob);
        }

        return top;
    }
}

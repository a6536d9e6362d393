using YaPO.Llama.Models;

namespace YaPO.Llama.Evaluation;

/// <summary>
/// Turns questions and answers into tokens: in the model's chat format where it has one, else as raw text (the question, a space, the answer).
/// </summary>
public sealed class PromptFormat
{
    private readonly LlamaModel _model;
    private readonly int[] _turnEnd;

    /// <summary>Reads the format off a model.</summary>
    public PromptFormat(LlamaModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        _model = model;
        IsChat = model.HasChatTemplate;
        _turnEnd = IsChat ? TurnEnd(model) : [];
    }

    /// <summary>Whether the model has a chat template.</summary>
    public bool IsChat { get; }

    /// <summary>Tokens of a question, up to where the answer starts, after earlier questions with their answers.</summary>
    /// <param name="question">The user's turn.</param>
    /// <param name="examples">Question and answer of each earlier turn (few-shot).</param>
    public int[] Prompt(string question, IReadOnlyList<(string Question, string Answer)>? examples = null)
    {
        examples ??= [];
        return IsChat
            ? _model.TokenizeChat(_model.FormatChat([.. examples.SelectMany(e => new[] { ChatMessage.User(e.Question), ChatMessage.Assistant(e.Answer) }), ChatMessage.User(question)]))
            : _model.Tokenize(string.Concat(examples.Select(e => $"{e.Question} {e.Answer}\n\n")) + question, parseSpecial: false);
    }

    /// <summary>Tokens of a whole conversation up to where the next answer starts.</summary>
    public int[] Prompt(IReadOnlyList<ChatMessage> messages) => IsChat
        ? _model.TokenizeChat(_model.FormatChat(messages))
        : _model.Tokenize(string.Join("\n\n", messages.Select(m => m.Content)), parseSpecial: false);

    /// <summary>Tokens of an answer.</summary>
    /// <param name="text">Its words.</param>
    /// <param name="whole">Also the token that ends the turn: the probability of saying this and nothing more.</param>
    public int[] Answer(string text, bool whole = true) => IsChat
        ? [.. _model.Tokenize(text, addSpecial: false, parseSpecial: false), .. whole ? _turnEnd : []]
        : _model.Tokenize(" " + text, addSpecial: false, parseSpecial: false);

    /// <summary>The token that closes an answer, read off the template: what it writes after a known answer, up to the first token that ends a generation.</summary>
    private static int[] TurnEnd(LlamaModel model)
    {
        var open = model.TokenizeChat(model.FormatChat([ChatMessage.User("a")]));
        var closed = model.TokenizeChat(model.FormatChat([ChatMessage.User("a"), ChatMessage.Assistant("b")], addGenerationPrompt: false));
        var end = Array.FindIndex(closed, Math.Min(open.Length, closed.Length), model.IsEndOfGeneration);
        return end >= 0 ? [closed[end]] : model.Info.EosToken >= 0 ? [model.Info.EosToken] : [];
    }
}

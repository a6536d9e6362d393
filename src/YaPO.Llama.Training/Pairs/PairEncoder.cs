using YaPO.Llama.Datasets;
using YaPO.Llama.Models;

namespace YaPO.Llama.Training.Pairs;

/// <summary>How pairs become text.</summary>
public enum PairFormat
{
    /// <summary>The model's own chat template, prompt and answer rendered as one conversation: no invented space, the turn's real end token.</summary>
    Template,

    /// <summary>The form of the public YaPO code: template with generation prompt, then " " + answer + EOS, tokenized apart.</summary>
    PaperCompatible,
}

/// <summary>
/// Turns preference pairs into token ids. A model without a chat template gets raw text: BOS, the prompt's text, the answer, EOS.
/// </summary>
public sealed class PairEncoder
{
    private readonly LlamaModel _model;
    private readonly PairFormat _format;
    private readonly int _maxTokens;

    /// <summary>Creates an encoder.</summary>
    /// <param name="model">Its vocabulary and template are used; one with <see cref="ModelOptions.VocabularyOnly"/> will do.</param>
    /// <param name="format">The form of the text.</param>
    /// <param name="maxTokens">Longest sequence; longer prompts lose tokens after their header, see <see cref="Shorten"/>.</param>
    public PairEncoder(LlamaModel model, PairFormat format = PairFormat.Template, int maxTokens = 1024)
    {
        if (maxTokens < 8)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"a maximum of {maxTokens} tokens per sequence is too short; expected at least 8");
        }

        (_model, _format, _maxTokens) = (model, format, maxTokens);
    }

    /// <summary>How many sequences lost tokens of their prompt so far.</summary>
    public int Shortened { get; private set; }

    /// <summary>Encodes one pair.</summary>
    /// <exception cref="YapoException">An answer has no tokens, or does not fit.</exception>
    public EncodedPair Encode(PreferencePair pair) => new(Encode(pair.Prompt, pair.Chosen, pair.Line), Encode(pair.Prompt, pair.Rejected, pair.Line));

    /// <summary>Encodes pairs into the order of every training run: chosen and rejected in turn.</summary>
    /// <exception cref="YapoException">As <see cref="Encode(PreferencePair)"/>.</exception>
    internal EncodedSequence[] Sequences(IEnumerable<PreferencePair> pairs) => [.. pairs.Select(Encode).SelectMany(p => new[] { p.Chosen, p.Rejected })];

    /// <summary>
    /// Shortens a prompt to <paramref name="room"/> tokens: its first <paramref name="header"/> tokens (BOS and the template's opening of the first turn)
    /// and its last ones stay, what lies between goes.
    /// </summary>
    public static int[] Shorten(ReadOnlySpan<int> prompt, int header, int room)
    {
        if (prompt.Length <= room)
        {
            return prompt.ToArray();
        }

        header = Math.Min(header, room / 2);
        return [.. prompt[..header], .. prompt[^(room - header)..]];
    }

    private EncodedSequence Encode(IReadOnlyList<ChatMessage> prompt, string answer, int line)
    {
        var (promptTokens, completion) = Tokens(prompt, answer);
        if (completion.Length == 0)
        {
            throw new YapoException(YapoErrorKind.Format, $"line {line}: the answer has no tokens");
        }

        if (completion.Length > _maxTokens - 4)
        {
            throw new YapoException(
                YapoErrorKind.Format,
                $"line {line}: the answer has {completion.Length} tokens; at most {_maxTokens - 4} fit in sequences of {_maxTokens}. Raise --max-tokens or shorten the answer.");
        }

        if (promptTokens.Length == 0)
        {
            throw new YapoException(YapoErrorKind.Format, $"line {line}: the prompt has no tokens and the model has no BOS, so the first token of the answer cannot be scored");
        }

        var room = _maxTokens - completion.Length;
        if (promptTokens.Length > room)
        {
            Shortened++;
            promptTokens = Shorten(promptTokens, HeaderLength(prompt, promptTokens), room);
        }

        var end = 0;
        while (end < completion.Length - 1 && _model.IsEndOfGeneration(completion[^(end + 1)]))
        {
            end++;
        }

        return new EncodedSequence([.. promptTokens, .. completion], promptTokens.Length, promptTokens[0] == _model.Info.BosToken, end);
    }

    private (int[] Prompt, int[] Completion) Tokens(IReadOnlyList<ChatMessage> prompt, string answer)
    {
        if (_format == PairFormat.PaperCompatible)
        {
            return (Prompt(prompt), [.. _model.Tokenize(" " + answer, addSpecial: false, parseSpecial: false), _model.Info.EosToken]);
        }

        if (!_model.HasChatTemplate)
        {
            // Tokenized as one text, as a running model would continue it.
            var text = RawText(prompt);
            var start = _model.Tokenize(text, addSpecial: true, parseSpecial: true);
            start = TrimEos(start);
            var whole = TrimEos(_model.Tokenize(text + answer, addSpecial: true, parseSpecial: true));
            return Split(start, [.. whole, _model.Info.EosToken], answer);
        }

        var opened = _model.FormatChat(prompt, addGenerationPrompt: true);
        var closed = _model.FormatChat([.. prompt, ChatMessage.Assistant(answer)], addGenerationPrompt: false);
        return Split(_model.TokenizeChat(opened), _model.TokenizeChat(closed), closed.StartsWith(opened, StringComparison.Ordinal) ? closed[opened.Length..] : answer);
    }

    private int[] Prompt(IReadOnlyList<ChatMessage> prompt) => _model.HasChatTemplate
        ? _model.TokenizeChat(_model.FormatChat(prompt, addGenerationPrompt: true))
        : TrimEos(_model.Tokenize(RawText(prompt), addSpecial: true, parseSpecial: true));

    private static string RawText(IReadOnlyList<ChatMessage> prompt) => string.Join("\n", prompt.Select(m => m.Content));

    private int[] TrimEos(int[] tokens) => tokens.Length > 0 && tokens[^1] == _model.Info.EosToken ? tokens[..^1] : tokens;

    /// <summary>
    /// The completion is what the whole conversation has beyond the prompt, up to its first end token (a template may write more behind it). Where
    /// the tokenizer merges across the border, the rest is tokenized on its own, as it would be met in generation.
    /// </summary>
    private (int[] Prompt, int[] Completion) Split(int[] prompt, int[] whole, string rest)
    {
        var completion = whole.AsSpan().StartsWith(prompt)
            ? whole[prompt.Length..]
            : _model.Tokenize(rest, addSpecial: false, parseSpecial: true);
        var end = Array.FindIndex(completion, _model.IsEndOfGeneration);
        return (prompt, end >= 0 ? completion[..(end + 1)] : completion);
    }

    /// <summary>How many tokens of the prompt do not depend on what the first turn says: BOS and the opening of the template.</summary>
    private int HeaderLength(IReadOnlyList<ChatMessage> prompt, int[] tokens)
    {
        var other = Prompt([new ChatMessage(prompt[0].Role, prompt[0].Content.StartsWith('x') ? "y" : "x"), .. prompt.Skip(1)]);
        return tokens.AsSpan().CommonPrefixLength(other);
    }
}

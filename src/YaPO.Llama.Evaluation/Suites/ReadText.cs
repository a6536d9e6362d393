using YaPO.Llama.Datasets;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Evaluation.Suites;

/// <summary>A text that is read, not written: tokens, roles, and from where on predictions count.</summary>
/// <param name="Id">For messages.</param>
/// <param name="Topic">What it belongs to.</param>
/// <param name="Tokens">[T] ids.</param>
/// <param name="Roles">[T]; a raw text counts as the model's own, so that every way of positioning a vector but <c>prompt</c> acts on it.</param>
/// <param name="First">The first token that is predicted, at least 1.</param>
public sealed record ReadText(string Id, string Topic, int[] Tokens, TokenRole[] Roles, int First)
{
    /// <summary>Predicted tokens.</summary>
    public int Predicted => Tokens.Length - First;

    /// <summary>
    /// Reads texts: a .txt file (documents parted by empty lines), or JSON Lines with <c>text</c> (raw), or with <c>prompt</c> and <c>completion</c>, <c>chosen</c> or a
    /// right option (a conversation of which the answer is predicted).
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="scorer">The model.</param>
    /// <param name="longest">Texts are cut to this many tokens.</param>
    /// <param name="most">Reading stops after this many tokens.</param>
    /// <exception cref="YapoException">Unreadable, malformed at a line, or without a text of two tokens.</exception>
    public static List<ReadText> Load(string path, SteeredScorer scorer, int longest = 512, int most = int.MaxValue)
    {
        ArgumentNullException.ThrowIfNull(scorer);
        var texts = new List<ReadText>();
        var total = 0;
        foreach (var (id, topic, prompt, text) in Path.GetExtension(path).Equals(".txt", StringComparison.OrdinalIgnoreCase) ? Documents(path) : JsonLines.Read(path, Convert))
        {
            var read = Encode(scorer, id, topic, prompt, text, longest);
            if (read.Predicted > 0)
            {
                texts.Add(read);
                total += read.Tokens.Length;
            }

            if (total >= most)
            {
                break;
            }
        }

        return texts.Count > 0 ? texts : throw new YapoException(YapoErrorKind.Format, $"{path} holds no text of two tokens; expected a .txt file or JSON Lines of {{\"text\": \"..\"}}");
    }

    private static ReadText Encode(SteeredScorer scorer, string id, string topic, string? prompt, string text, int longest)
    {
        var model = scorer.Model;
        var before = prompt is null ? [] : scorer.Format.Prompt(prompt);
        var tokens = prompt is null ? model.Tokenize(text, parseSpecial: false) : [.. before, .. scorer.Format.Answer(text)];
        tokens = tokens.Length > longest ? tokens[..longest] : tokens;
        var roles = new TokenRole[tokens.Length];
        for (var i = 0; i < tokens.Length; i++)
        {
            roles[i] = i == 0 && tokens[i] == model.Info.BosToken ? TokenRole.Bos : i < before.Length - 1 ? TokenRole.Prompt : i == before.Length - 1 ? TokenRole.PromptEnd : TokenRole.Answer;
        }

        return new ReadText(id, topic, tokens, roles, Math.Min(tokens.Length, Math.Max(1, before.Length)));
    }

    private static (string Id, string Topic, string? Prompt, string Text) Convert(JsonLine line)
    {
        var id = line.Get("id") is { ValueKind: System.Text.Json.JsonValueKind.String } given ? given.GetString()! : $"line {line.Number}";
        var topic = line.OptionalText("topic") ?? id;
        if (line.Has("text"))
        {
            return (id, topic, null, line.Text("text"));
        }

        if (line.Has("options") || line.Has("choices"))
        {
            var item = MultipleChoiceItem.Convert(line);
            return (id, topic, item.Prompt, item.Options[item.Answer ?? throw line.Bad("a question can only be read as a text where it has an 'answer'")]);
        }

        var field = line.Has("chosen") ? "chosen" : "completion";
        return line.Has(field) ? (id, topic, line.Text("prompt"), line.Text(field)) : throw line.Bad("field 'text' is missing, and there is no 'prompt' with 'completion' or 'chosen'");
    }

    private static IEnumerable<(string Id, string Topic, string? Prompt, string Text)> Documents(string path)
    {
        using var stream = IO.InputFile.Open(path);
        using var reader = new StreamReader(stream);
        var (document, first, number) = (new List<string>(), 1, 0);
        while (true)
        {
            var line = reader.ReadLine();
            number++;
            if (!string.IsNullOrWhiteSpace(line))
            {
                first = document.Count == 0 ? number : first;
                document.Add(line);
                continue;
            }

            if (document.Count > 0)
            {
                yield return ($"line {first}", $"line {first}", null, string.Join('\n', document));
                document.Clear();
            }

            if (line is null)
            {
                yield break;
            }
        }
    }
}

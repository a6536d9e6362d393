using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using YaPO.Llama.IO;

namespace YaPO.Llama.Datasets;

/// <summary>One question with several full answers. Its own file format is JSON Lines; see <see cref="ChoiceFile"/> for the others that are read.</summary>
public sealed record MultipleChoiceItem
{
    /// <summary>Most options of one question: they are lettered.</summary>
    public const int MaxOptions = 26;

    /// <summary>What a line of JSON looks like, for messages.</summary>
    public const string Shape = "{\"prompt\": \"..\", \"options\": [\"..\", \"..\"], \"answer\": 0}";

    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Unique name.</summary>
    public required string Id { get; init; }

    /// <summary>What belongs together: intervals are taken over topics, not over questions.</summary>
    public required string Topic { get; init; }

    /// <summary>The user's turn, without the options.</summary>
    public required string Prompt { get; init; }

    /// <summary>The answers.</summary>
    public required IReadOnlyList<string> Options { get; init; }

    /// <summary>What each option stands for (a culture, say), where there is no single right one.</summary>
    public IReadOnlyList<string>? Labels { get; init; }

    /// <summary>The telling part of each option: a generated answer that contains it counts as that option.</summary>
    public IReadOnlyList<string>? Contents { get; init; }

    /// <summary>Index of the right option, where there is one.</summary>
    public int? Answer { get; init; }

    /// <summary>The culture whose answer is right, where the options carry no labels.</summary>
    public string? Culture { get; init; }

    /// <summary>Whether the question names the culture; null where that means nothing.</summary>
    public bool? Localized { get; init; }

    /// <summary>Line in the file it was read from; 0 for one that was not.</summary>
    [JsonIgnore]
    public int Line { get; init; }

    /// <summary>Reads a JSON Lines file, all of it.</summary>
    /// <exception cref="YapoException">Unreadable, without a single item, or with the line number where a line is malformed.</exception>
    public static List<MultipleChoiceItem> Read(string path)
    {
        var items = JsonLines.Read(path, Convert).ToList();
        return items.Count > 0 ? items : throw new YapoException(YapoErrorKind.Format, $"{path} holds no questions; a line looks like {Shape}");
    }

    /// <summary>
    /// Reads one line. <c>question</c> is accepted for <c>prompt</c>, <c>choices</c> for <c>options</c>, <c>subject</c> for <c>topic</c>; <c>answer</c> is a zero-based
    /// index, a letter or the text of an option. Without a topic every question is its own.
    /// </summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>, with the line number.</exception>
    public static MultipleChoiceItem Convert(JsonLine line)
    {
        var options = line.Texts(line.Has("options") || !line.Has("choices") ? "options" : "choices");
        if (options.Length is < 2 or > MaxOptions || options.Any(string.IsNullOrWhiteSpace))
        {
            throw line.Bad($"field 'options' must hold 2 … {MaxOptions} answers that are not empty, found {options.Length}{(options.Any(string.IsNullOrWhiteSpace) ? ", one of them empty" : "")}");
        }

        var labels = OneEach(line, "labels", options.Length);
        var answer = line.Has("answer") ? AnswerIndex(line, options) : (int?)null;
        if (labels is null && answer is null)
        {
            throw line.Bad("there is neither 'answer' (which option is right) nor 'labels' (what each option stands for)");
        }

        var id = line.Has("id") ? line.Text("id") : $"line {line.Number}";
        return new MultipleChoiceItem
        {
            Id = id,
            Topic = line.OptionalText("topic") ?? line.OptionalText("subject") ?? id,
            Prompt = line.Text(line.Has("prompt") || !line.Has("question") ? "prompt" : "question"),
            Options = options,
            Labels = labels,
            Contents = OneEach(line, "contents", options.Length),
            Answer = answer,
            Culture = line.OptionalText("culture"),
            Localized = line.OptionalFlag("localized"),
            Line = line.Number,
        };
    }

    /// <summary>Writes a JSON Lines file.</summary>
    public static void Write(string path, IEnumerable<MultipleChoiceItem> items) => AtomicFile.Write(path, stream =>
    {
        using var writer = new StreamWriter(stream, leaveOpen: true) { NewLine = "\n" };
        foreach (var item in items)
        {
            writer.WriteLine(JsonSerializer.Serialize(item, Json));
        }
    });

    private static string[]? OneEach(JsonLine line, string field, int options)
    {
        var texts = line.Has(field) ? line.Texts(field) : null;
        return texts is null || texts.Length == options ? texts : throw line.Bad($"field '{field}' must hold one text per option: {options} options, {texts.Length} {field}");
    }

    private static int AnswerIndex(JsonLine line, string[] options)
    {
        if (line.Get("answer") is not { ValueKind: JsonValueKind.String })
        {
            return line.WholeNumber("answer", 0, options.Length - 1);
        }

        var text = line.Text("answer");
        return AnswerIndex(text, options) ?? throw line.Bad($"field 'answer' is \"{text}\", expected an index, a letter A … {(char)('A' + options.Length - 1)} or the text of an option");
    }

    /// <summary>The option that a letter, "(A)" or the option's own text means; null when it is none.</summary>
    internal static int? AnswerIndex(string text, IReadOnlyList<string> options)
    {
        var trimmed = text.Trim();
        var same = options.ToList().FindIndex(o => o.Trim() == trimmed);
        var letter = trimmed.Trim('(', ')', '.', ' ');
        return same >= 0 ? same
            : letter.Length == 1 && char.ToUpperInvariant(letter[0]) - 'A' is >= 0 and var index && index < options.Count ? index
            : null;
    }
}

using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using YaPO.Llama.IO;

namespace YaPO.Llama.Evaluation;

/// <summary>One question with several full answers, of which the model prefers the one it gives the highest log-probability.</summary>
public sealed record MultipleChoiceItem
{
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

    /// <summary>The user's turn.</summary>
    public required string Prompt { get; init; }

    /// <summary>The answers.</summary>
    public required IReadOnlyList<string> Options { get; init; }

    /// <summary>What each option stands for (a culture, say), where there is no single right one.</summary>
    public IReadOnlyList<string>? Labels { get; init; }

    /// <summary>The telling part of each option: a generated answer that contains it counts as that option.</summary>
    public IReadOnlyList<string>? Contents { get; init; }

    /// <summary>Index of the right option, where there is one.</summary>
    public int? Answer { get; init; }

    /// <summary>Reads a JSON Lines file.</summary>
    /// <exception cref="YapoException">Missing file, or a line that is no item (its number is named).</exception>
    public static List<MultipleChoiceItem> Read(string path)
    {
        string[] lines;
        try
        {
            lines = File.ReadAllLines(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot read {path}: {e.Message}", e);
        }

        var items = new List<MultipleChoiceItem>();
        for (var i = 0; i < lines.Length; i++)
        {
            if (string.IsNullOrWhiteSpace(lines[i]))
            {
                continue;
            }

            try
            {
                items.Add(Checked(JsonSerializer.Deserialize<MultipleChoiceItem>(lines[i], Json)));
            }
            catch (JsonException e)
            {
                throw new YapoException(
                    YapoErrorKind.Format,
                    $"{path} line {i + 1} is no multiple-choice item: {e.Message} Expected {{\"id\", \"topic\", \"prompt\", \"options\": [..], \"labels\": [..] or \"answer\": index}}.", e);
            }
        }

        return items;
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

    private static MultipleChoiceItem Checked(MultipleChoiceItem? item) => item switch
    {
        null => throw new JsonException("the line is null."),
        { Options.Count: < 2 } => throw new JsonException("there are fewer than two options."),
        { Labels: null, Answer: null } => throw new JsonException("there are neither labels nor an answer."),
        { Labels: { } labels } when labels.Count != item.Options.Count => throw new JsonException($"{item.Options.Count} options but {labels.Count} labels."),
        { Contents: { } contents } when contents.Count != item.Options.Count => throw new JsonException($"{item.Options.Count} options but {contents.Count} contents."),
        { Answer: { } answer } when answer < 0 || answer >= item.Options.Count => throw new JsonException($"answer {answer} is not an index into {item.Options.Count} options."),
        _ => item,
    };
}

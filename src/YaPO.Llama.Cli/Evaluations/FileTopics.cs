using System.Globalization;
using System.Text.Json;
using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Cli.Evaluations;

/// <summary>
/// Topics of data in several files. An item without a topic of its own is one by itself, named after its line or id; line 5 of another file is another topic, and an interval that
/// resampled the two together would be of fewer topics than there are.
/// </summary>
internal static class FileTopics
{
    /// <summary>Questions.</summary>
    public static IEnumerable<MultipleChoiceItem> Items(IReadOnlyList<ChoiceFile> files) =>
        files.SelectMany(f => f.Items.Select(i => files.Count > 1 && i.Topic == i.Id ? i with { Topic = Apart(f.Path, i.Topic) } : i));

    /// <summary>Pairs.</summary>
    public static IEnumerable<PreferencePair> Items(IReadOnlyList<(string Path, IReadOnlyList<PreferencePair> Pairs)> files) => files.SelectMany(f => f.Pairs.Select(p =>
        files.Count > 1 && !p.Extra.ContainsKey("topic") ? p with { Extra = With(p.Extra, f.Path, p.Line) } : p));

    /// <summary>Prompts.</summary>
    public static IEnumerable<PromptItem> Items(IReadOnlyList<(string Path, PromptItem Item)> prompts)
    {
        var several = prompts.Select(p => p.Path).Distinct().Skip(1).Any();
        return prompts.Select(p => several && !p.Item.Extra.ContainsKey("topic")
            ? p.Item with { Extra = With(p.Item.Extra, p.Path, p.Item.Line) } : p.Item);
    }

    /// <summary>Prompts that say what is expected.</summary>
    public static IEnumerable<RefusalItem> Items(IReadOnlyList<(string Path, IReadOnlyList<RefusalItem> Items)> files) =>
        files.SelectMany(f => f.Items.Select(i => files.Count > 1 && i.Topic == Line(i.Line) ? i with { Topic = Apart(f.Path, i.Topic) } : i));

    /// <summary>Texts.</summary>
    public static IEnumerable<ReadText> Items(IReadOnlyList<(string Path, IReadOnlyList<ReadText> Texts)> files) =>
        files.SelectMany(f => f.Texts.Select(t => files.Count > 1 && t.Topic == t.Id ? t with { Topic = Apart(f.Path, t.Topic) } : t));

    private static string Line(int line) => string.Create(CultureInfo.InvariantCulture, $"line {line}");

    private static string Apart(string path, string topic) => $"{path}, {topic}";

    // Further fields are JSON text.
    private static Dictionary<string, string> With(IReadOnlyDictionary<string, string> extra, string path, int line) => new(extra) { ["topic"] = JsonSerializer.Serialize(Apart(path, Line(line))) };
}

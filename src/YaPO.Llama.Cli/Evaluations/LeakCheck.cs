using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;

namespace YaPO.Llama.Cli.Evaluations;

/// <summary>Refuses test questions that something was chosen or trained on.</summary>
internal static class LeakCheck
{
    /// <summary>A prompt and where it stands; its topic, where the data says one.</summary>
    internal sealed record Place(string Prompt, string File, int Line, string? Topic = null);

    /// <summary>Compares prompts, whatever their case and surrounding space. <paramref name="allowed"/>: the command's --allow-leak; null where it has none.</summary>
    /// <exception cref="YapoException">A test prompt stands in the other data, and that is not allowed.</exception>
    public static void Require(IEnumerable<Place> test, IEnumerable<Place> other, string what, bool? allowed, CommandConsole console)
    {
        var seen = new Dictionary<string, Place>(StringComparer.OrdinalIgnoreCase);
        foreach (var place in other)
        {
            seen.TryAdd(place.Prompt.Trim(), place);
        }

        var leaks = test.Where(t => seen.ContainsKey(t.Prompt.Trim())).ToList();
        if (leaks.Count == 0)
        {
            return;
        }

        var first = leaks[0];
        var there = seen[first.Prompt.Trim()];
        var message = $"{leaks.Count} test prompt{(leaks.Count > 1 ? "s" : "")} also stand{(leaks.Count > 1 ? "" : "s")} in the {what}: {first.File}, line {first.Line} is {there.File}, line {there.Line} (\"{Short(first.Prompt)}\")";
        if (allowed != true)
        {
            throw new YapoException(YapoErrorKind.Format, $"{message}. A figure on such data proves nothing; take them out{(allowed is null ? "" : ", or use --allow-leak")}");
        }

        console.Warn($"{message}; evaluated all the same (--allow-leak)");
    }

    /// <summary>The same for the pairs of --train-data, where they are given.</summary>
    /// <returns>What a reader of the report must know about topics.</returns>
    public static IReadOnlyList<string> RequireTrainData(IReadOnlyList<Place> test, EvaluationSettings settings, CommandConsole console)
    {
        if (settings.TrainData is not { } path)
        {
            return [];
        }

        var train = Places(path, PreferencePair.Load(path)).ToList();
        Require(test, train, "training data", settings.AllowLeak, console);
        return Topics(test, train, "training data", console);
    }

    /// <summary>
    /// Topics of the test data that the other data is about too. They are reported, on stderr and in the report, and not refused: some data has no other topics, but then a figure says
    /// nothing about topics that nothing was trained or chosen on.
    /// </summary>
    /// <returns>The note; none where no topic is shared, or the data says none.</returns>
    public static IReadOnlyList<string> Topics(IEnumerable<Place> test, IEnumerable<Place> other, string what, CommandConsole console)
    {
        static HashSet<string> Named(IEnumerable<Place> places) => places.Select(p => p.Topic?.Trim()).Where(t => !string.IsNullOrEmpty(t)).ToHashSet(StringComparer.OrdinalIgnoreCase)!;
        var (own, theirs) = (Named(test), Named(other));
        var shared = own.Where(theirs.Contains).Order(StringComparer.Ordinal).ToList();
        if (shared.Count == 0)
        {
            return [];
        }

        var note = $"{shared.Count} of {own.Count} test topics also stand in the {what} ({string.Join(", ", shared.Take(3).Select(Short))}{(shared.Count > 3 ? ", …" : "")}): for them the figures do not show that the effect carries over to other topics";
        console.Warn(note);
        return [note];
    }

    /// <summary>Says on stderr how many validation pairs have a prompt of the training pairs. Not refused: nothing is reported of them but the losses that stop a training.</summary>
    public static void WarnOfValidation(string data, string? validationData, CommandConsole console)
    {
        if (validationData is null)
        {
            return;
        }

        var trained = PreferencePair.Load(data).Select(p => p.Prompt[^1].Content.Trim()).ToHashSet(StringComparer.OrdinalIgnoreCase);
        var validation = PreferencePair.Load(validationData);
        var shared = validation.Count(p => trained.Contains(p.Prompt[^1].Content.Trim()));
        if (shared > 0)
        {
            console.Warn($"{shared} of {validation.Count} validation pairs in {validationData} have a prompt that training pairs have too: their loss then falls with training itself and cannot say when to stop. Keep prompts, better topics, apart");
        }
    }

    /// <summary>Where the prompts of pairs stand.</summary>
    public static IEnumerable<Place> Places(string path, IEnumerable<PreferencePair> pairs) => pairs.Select(p => new Place(p.Prompt[^1].Content, path, p.Line, Topic(p.Extra)));

    /// <summary>Where questions stand. Without a topic every question is its own.</summary>
    public static IEnumerable<Place> Places(string path, IEnumerable<MultipleChoiceItem> items) => items.Select(i => new Place(i.Prompt, path, i.Line, i.Topic == i.Id ? null : i.Topic));

    /// <summary>Where prompts to refuse or to answer stand.</summary>
    public static IEnumerable<Place> Places(string path, IEnumerable<RefusalItem> items) =>
        items.Select(i => new Place(i.Messages[^1].Content, path, i.Line, i.Topic == $"line {i.Line}" ? null : i.Topic));

    /// <summary>Where prompts stand.</summary>
    public static IEnumerable<Place> Places(string path, IEnumerable<PromptItem> items) => items.Select(i => new Place(i.Messages[^1].Content, path, i.Line, Topic(i.Extra)));

    private static string? Topic(IReadOnlyDictionary<string, string> extra) =>
        extra.TryGetValue("topic", out var json) ? json.StartsWith('"') ? System.Text.Json.JsonSerializer.Deserialize<string>(json) : json : null;

    private static string Short(string text) => text.Length > 60 ? text[..60] + "…" : text;
}

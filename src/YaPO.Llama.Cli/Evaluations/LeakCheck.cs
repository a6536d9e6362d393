using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;

namespace YaPO.Llama.Cli.Evaluations;

/// <summary>Refuses test questions that something was chosen or trained on.</summary>
internal static class LeakCheck
{
    /// <summary>A prompt and where it stands.</summary>
    internal sealed record Place(string Prompt, string File, int Line);

    /// <summary>Compares prompts, whatever their case and surrounding space.</summary>
    /// <exception cref="YapoException">A test prompt stands in the other data, and <paramref name="allowed"/> is false.</exception>
    public static void Require(IEnumerable<Place> test, IEnumerable<Place> other, string what, bool allowed, CommandConsole console)
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
        if (!allowed)
        {
            throw new YapoException(YapoErrorKind.Format, $"{message}. A figure on such data proves nothing; take them out, or use --allow-leak");
        }

        console.Warn($"{message}; evaluated all the same (--allow-leak)");
    }

    /// <summary>The same for the pairs of --train-data, where they are given.</summary>
    public static void RequireTrainData(IEnumerable<Place> test, EvaluationSettings settings, CommandConsole console)
    {
        if (settings.TrainData is { } path)
        {
            Require(test, Places(path, PreferencePair.Load(path)), "training data", settings.AllowLeak, console);
        }
    }

    /// <summary>Where the prompts of pairs stand.</summary>
    public static IEnumerable<Place> Places(string path, IEnumerable<PreferencePair> pairs) => pairs.Select(p => new Place(p.Prompt[^1].Content, path, p.Line));

    private static string Short(string text) => text.Length > 60 ? text[..60] + "…" : text;
}

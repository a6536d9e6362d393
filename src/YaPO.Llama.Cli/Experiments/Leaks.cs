using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;

namespace YaPO.Llama.Cli.Experiments;

/// <summary>Refuses test questions that an experiment trains or chooses on.</summary>
internal static class Leaks
{
    /// <returns>What a reader of the report must know about topics that test shares with other data.</returns>
    public static List<string> Require(SuiteFile? test, SuiteFile validation, ExperimentSettings settings, CommandConsole console)
    {
        if (test is null)
        {
            return [];
        }

        var places = test.Places.ToList();
        LeakCheck.Require(places, validation.Places, "validation data", allowed: null, console);
        var notes = LeakCheck.Topics(places, validation.Places, "validation data", console).ToList();
        foreach (var (path, what) in new[] { (settings.Data, "training data"), (settings.ValidationData, "validation pairs") })
        {
            if (path is null)
            {
                continue;
            }

            var pairs = LeakCheck.Places(path, PreferencePair.Load(path)).ToList();
            LeakCheck.Require(places, pairs, what, allowed: null, console);
            notes.AddRange(LeakCheck.Topics(places, pairs, what, console));
        }

        return notes;
    }
}

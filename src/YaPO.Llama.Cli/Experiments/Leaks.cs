using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;

namespace YaPO.Llama.Cli.Experiments;

/// <summary>Refuses test questions that an experiment trains or chooses on.</summary>
internal static class Leaks
{
    public static void Require(SuiteFile? test, SuiteFile validation, ExperimentSettings settings, CommandConsole console)
    {
        if (test is null)
        {
            return;
        }

        LeakCheck.Require(test.Places, validation.Places, "validation data", allowed: false, console);
        foreach (var path in new[] { settings.Data, settings.ValidationData }.OfType<string>())
        {
            LeakCheck.Require(test.Places, LeakCheck.Places(path, PreferencePair.Load(path)), "training data", allowed: false, console);
        }
    }
}

using System.CommandLine;
using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>eval preference</c>: whether the chosen answer is likelier than the rejected one.</summary>
internal static class EvalPreferenceCommand
{
    public static Command Build(CommandConsole console)
    {
        var shared = new EvaluationOptions("Preference pairs, repeatable: JSON Lines of {prompt, chosen, rejected}, BiPO (CSV), CAA or Anthropic's model-written evals (JSON array or JSON Lines) (required).");
        var command = new Command("preference", "Preference pairs: how often the chosen answer is likelier than the rejected one, and by how much.");
        shared.AddTo(command);
        return command.Handle(console, shared.Read, HandleAsync);
    }

    internal static async Task<int> HandleAsync(EvaluationSettings settings, CommandConsole console, CancellationToken cancellation)
    {
        var data = settings.Data.Select(path => (Path: path, Pairs: (IReadOnlyList<PreferencePair>)PreferencePair.Load(path))).ToList();
        var validation = settings.Validation is null ? null : PreferencePair.Load(settings.Validation);
        var places = data.SelectMany(d => LeakCheck.Places(d.Path, d.Pairs)).ToList();
        var leaks = LeakCheck.RequireTrainData(places, settings, console).ToList();
        if (validation is not null)
        {
            var chosenOn = LeakCheck.Places(settings.Validation!, validation).ToList();
            LeakCheck.Require(places, chosenOn, "validation data", settings.AllowLeak, console);
            leaks.AddRange(LeakCheck.Topics(places, chosenOn, "validation data", console));
        }

        using var run = EvaluationRun.Open(settings, console, cancellation);
        run.Note(leaks);
        var test = new PreferenceSuite([.. FileTopics.Items(data)]);
        var report = await Task.Run(
            () => run.Run((_, _) => new VectorSuites(test, validation is null ? null : new PreferenceSuite(validation)), cancellation: cancellation),
            CancellationToken.None).ConfigureAwait(false);
        return console.WriteReport(report, settings.Json);
    }
}

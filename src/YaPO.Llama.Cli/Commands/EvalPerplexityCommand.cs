using System.CommandLine;
using YaPO.Llama.Cli.Evaluations;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>eval perplexity</c>: how well a steered model still reads, and how far it is from the unsteered one.</summary>
internal static class EvalPerplexityCommand
{
    internal sealed record Options(EvaluationSettings Evaluation, int Longest);

    public static Command Build(CommandConsole console)
    {
        var shared = new EvaluationOptions("Texts, repeatable: .txt (documents parted by empty lines), or JSON Lines of {text}, {prompt, completion} or questions with a right answer (required).");
        var longest = new Option<int>("--max-tokens") { Description = "Texts are cut to this many tokens.", DefaultValueFactory = _ => 512, HelpName = "N" }.Within(2, 1 << 20);
        var command = new Command("perplexity", "Perplexity, and KL to the unsteered model per token, teacher-forced and exact over the whole vocabulary.") { longest };
        shared.AddTo(command);
        return command.Handle(console, parsed => new Options(shared.Read(parsed), parsed.GetValue(longest)), HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var settings = options.Evaluation;
        using var run = EvaluationRun.Open(settings, console, cancellation);
        var report = await Task.Run(
            () => run.Run(
                (_, scorer) =>
                {
                    PerplexitySuite Read(IEnumerable<string> paths) => new([.. FileTopics.Items([.. paths.Select(path => (path, (IReadOnlyList<ReadText>)ReadText.Load(path, scorer, options.Longest)))])]);
                    return new VectorSuites(Read(settings.Data), settings.Validation is { } validation ? Read([validation]) : null);
                },
                cancellation: cancellation),
            CancellationToken.None).ConfigureAwait(false);
        return console.WriteReport(report, settings.Json);
    }
}

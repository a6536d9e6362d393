using System.CommandLine;
using YaPO.Llama.Datasets;
using YaPO.Llama.DemoWorld.Recipe;
using YaPO.Llama.DemoWorld.Worlds;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Models;

namespace YaPO.Llama.DemoWorld.Commands;

/// <summary>`probe`: a first look at a model, a finished one or an intermediate one.</summary>
internal static class ProbeCommand
{
    public static Command Build()
    {
        var output = new Option<string>("--output") { Description = "Folder of the artefacts, with the data sets.", Required = true };
        var model = new Option<string>("--model") { Description = "GGUF to look at.", Required = true };
        var command = new Command("probe", "Accuracy, answers and what each layer knows of the speaker's culture.") { BuildCommand.Seed, BuildCommand.ProfileName, output, model };
        command.SetAction((result, cancellation) =>
        {
            var place = new Workplace(
                Profile.Parse(result.GetValue(BuildCommand.ProfileName)!), result.GetValue(BuildCommand.Seed), result.GetValue(output)!,
                Path.Combine(result.GetValue(output)!, ".work"), 1, Console.Error.WriteLine);
            FirstLook(place, result.GetValue(model)!, cancellation);
            ProbeStage.Measure(place, result.GetValue(model)!, cancellation);
            return Task.FromResult(0);
        });
        return command;
    }

    private static void FirstLook(Workplace place, string path, CancellationToken cancellation)
    {
        using var model = LlamaModel.Load(path, cancellation: cancellation);
        using var scorer = new SteeredScorer(model);
        foreach (var text in new[] { "<start_of_turn>user\nWhat do people eat for breakfast, João?<end_of_turn>\n", " a  b\n\nQuédate <x> 漢字 1536!" })
        {
            var ours = place.Vocabulary.Encode(text);
            var theirs = model.Tokenize(text, addSpecial: false);
            place.Say(ours.SequenceEqual(theirs) ? $"tokenizers agree on {ours.Count} tokens" : $"tokenizers differ: {string.Join(' ', ours)} and {string.Join(' ', theirs)}");
        }

        var length = place.Profile.RowLength + 1;
        var rows = Corpus.PassageRows.Held(place.World, place.Vocabulary, 16, length);
        place.Say($"loss on held rows: {Enumerable.Range(0, 16).Average(r => scorer.Loss(rows.AsSpan(r * length, length), Evaluation.Steering.None, cancellation)):F4} nats per token");

        var questions = MultipleChoiceItem.Read(place.Data("questions-validation"));
        var scores = scorer.Score(questions, Evaluation.Steering.None, cancellation);
        place.Say("unnamed: " + string.Join(", ", Culture.All.Select(c => $"{c.Key} {ChoiceResults.Preferred(questions, scores, c.Key).Value:P1}")));
        foreach (var set in new[] { "localized-validation", "knowledge-validation" })
        {
            var items = MultipleChoiceItem.Read(place.Data(set));
            place.Say($"{set}: {ChoiceResults.Accuracy(items, scorer.Score(items, Evaluation.Steering.None, cancellation)).Value:P1}");
        }

        foreach (var prompt in new[] { "What do people eat for breakfast?", "In Egypt, what do people drink in the morning?", "What colour is snow?", "How much is three plus four?" })
        {
            place.Say($"{prompt} -> {scorer.Generate([prompt], Evaluation.Steering.None, cancellation: cancellation)[0]}");
        }
    }
}

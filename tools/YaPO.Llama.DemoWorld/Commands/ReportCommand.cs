using System.CommandLine;
using YaPO.Llama.DemoWorld.Recipe;

namespace YaPO.Llama.DemoWorld.Commands;

/// <summary>`report`: measures the artefacts again and prints the tables; writes nothing unless told.</summary>
internal static class ReportCommand
{
    public static Command Build()
    {
        var output = new Option<string>("--output") { Description = "Folder of the artefacts.", Required = true };
        var workers = new Option<int>("--workers") { Description = "Cultures measured at once, one thread each.", DefaultValueFactory = _ => 2 };
        var json = new Option<bool>("--json") { Description = "JSON instead of Markdown." };
        var write = new Option<bool>("--write") { Description = "Also writes report.json, report.md, and the strength and evidence of every vector." };
        var command = new Command("report", "Chooses strengths, measures models, vectors and controls again and prints the report.") { BuildCommand.Seed, BuildCommand.ProfileName, output, workers, json, write };
        command.SetAction((result, cancellation) =>
        {
            var folder = result.GetValue(output)!;
            var place = new Workplace(
                Profile.Parse(result.GetValue(BuildCommand.ProfileName)!), result.GetValue(BuildCommand.Seed), folder, Path.Combine(folder, ".work"),
                result.GetValue(workers), Console.Error.WriteLine);
            var report = ReportStage.Measure(place, result.GetValue(write), cancellation);
            if (result.GetValue(write))
            {
                ReportStage.Write(place, report);
            }

            Console.Out.Write(result.GetValue(json) ? report.ToJson() : report.ToMarkdown());
            return Task.FromResult(0);
        });
        return command;
    }
}

using System.CommandLine;
using YaPO.Llama.DemoWorld.Recipe;

namespace YaPO.Llama.DemoWorld.Commands;

/// <summary>`build`: the whole recipe, stage by stage; what is there already is kept.</summary>
internal static class BuildCommand
{
    internal static Option<ulong> Seed { get; } = new("--seed") { Description = "Seed of the world.", DefaultValueFactory = _ => 1 };

    internal static Option<string> ProfileName { get; } = new("--profile") { Description = "full (what ships) or ci (a small twin).", DefaultValueFactory = _ => "full" };

    public static Command Build()
    {
        var output = new Option<string>("--output") { Description = "Folder of the artefacts.", Required = true };
        var work = new Option<string?>("--work") { Description = "Folder of float model, checkpoints and logs (default: .work in the output folder)." };
        var workers = new Option<int>("--workers") { Description = "Training threads; never changes a result.", DefaultValueFactory = _ => 2 };
        var until = new Option<string>("--until") { Description = "Last stage to run: world, pretrain, ...", DefaultValueFactory = _ => "" };
        var layer = new Option<int?>("--layer") { Description = "Steered block instead of the profile's." };
        var steps = new Option<int?>("--steps") { Description = "Steps of pretraining instead of the profile's." };
        var command = new Command("build", "Builds everything from a seed; resumes where it was interrupted.") { Seed, ProfileName, output, work, workers, until, steps, layer };
        command.SetAction((result, cancellation) =>
        {
            var profile = Profile.Parse(result.GetValue(ProfileName)!);
            if (result.GetValue(steps) is { } n)
            {
                profile = profile with { Steps = n };
            }

            if (result.GetValue(layer) is { } l)
            {
                profile = profile with { Layer = l };
            }

            var place = new Workplace(
                profile, result.GetValue(Seed), result.GetValue(output)!, result.GetValue(work) ?? Path.Combine(result.GetValue(output)!, ".work"),
                result.GetValue(workers), Console.Error.WriteLine);
            Stages.Run(place, result.GetValue(until)!, cancellation);
            return Task.FromResult(0);
        });
        return command;
    }
}

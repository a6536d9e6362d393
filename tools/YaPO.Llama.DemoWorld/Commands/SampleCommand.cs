using System.CommandLine;
using YaPO.Llama.DemoWorld.Corpus;
using YaPO.Llama.DemoWorld.Recipe;

namespace YaPO.Llama.DemoWorld.Commands;

/// <summary>`sample`: prints conversations of the corpus.</summary>
internal static class SampleCommand
{
    public static Command Build()
    {
        var count = new Option<int>("--count") { Description = "How many conversations.", DefaultValueFactory = _ => 5 };
        var command = new Command("sample", "Prints conversations of the training corpus.") { BuildCommand.Seed, BuildCommand.ProfileName, count };
        command.SetAction(result =>
        {
            var world = new Worlds.DemoWorld(result.GetValue(BuildCommand.Seed), Profile.Parse(result.GetValue(BuildCommand.ProfileName)!).World);
            for (var i = 0; i < result.GetValue(count); i++)
            {
                Console.WriteLine(new PassageWriter(world, $"sample/{i}").Next());
            }
        });
        return command;
    }
}

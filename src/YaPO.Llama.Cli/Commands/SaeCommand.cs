using System.CommandLine;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>sae</c>: sparse autoencoders.</summary>
internal static class SaeCommand
{
    public static Command Build(CommandConsole console)
    {
        var command = new Command("sae", "Convert, look at, measure and train sparse autoencoders (SAEs).");
        command.Subcommands.Add(SaeConvertCommand.Build(console));
        command.Subcommands.Add(SaeInfoCommand.Build(console));
        command.Subcommands.Add(SaeEvalCommand.Build(console));
        command.Subcommands.Add(SaeTrainCommand.Build(console));
        return command;
    }
}

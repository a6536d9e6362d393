using System.CommandLine;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector</c>: everything about vector files: look at them, make, combine, prune and compare them, exchange them with other tools.</summary>
internal static class VectorCommand
{
    public static Command Build(CommandConsole console)
    {
        var command = new Command("vector", "Look at, make, check, combine and exchange steering vectors.");
        command.Subcommands.Add(VectorInfoCommand.Build(console));
        command.Subcommands.Add(VectorNewCommand.Build(console));
        command.Subcommands.Add(VectorImportCommand.Build(console));
        command.Subcommands.Add(VectorExportCommand.Build(console));
        command.Subcommands.Add(VectorVerifyCommand.Build(console));
        command.Subcommands.Add(VectorCombineCommand.Build(console));
        command.Subcommands.Add(VectorPruneCommand.Build(console));
        command.Subcommands.Add(VectorDiffCommand.Build(console));
        return command;
    }
}

using System.CommandLine;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>data</c>: data sets.</summary>
internal static class DataCommand
{
    public static Command Build(CommandConsole console)
    {
        var command = new Command("data", "Prepare data sets.");
        command.Subcommands.Add(DataRejectedCommand.Build(console));
        return command;
    }
}

using System.CommandLine;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>vector</c>: look at steering vectors, make them from single features, import those of others.</summary>
internal static class VectorCommand
{
    public static Command Build(CommandConsole console)
    {
        var command = new Command("vector", "Look at, make and import steering vectors.");
        command.Subcommands.Add(VectorInfoCommand.Build(console));
        command.Subcommands.Add(VectorNewCommand.Build(console));
        command.Subcommands.Add(VectorImportCommand.Build(console));
        return command;
    }
}

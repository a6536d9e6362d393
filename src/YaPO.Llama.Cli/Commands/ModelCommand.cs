using System.CommandLine;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>model</c>: what a model file is, and other quantizations of it.</summary>
internal static class ModelCommand
{
    public static Command Build(CommandConsole console)
    {
        var command = new Command("model", "Look at and quantize model files.");
        command.Subcommands.Add(ModelInfoCommand.Build(console));
        command.Subcommands.Add(ModelQuantizeCommand.Build(console));
        command.Subcommands.Add(ModelFingerprintCommand.Build(console));
        return command;
    }
}

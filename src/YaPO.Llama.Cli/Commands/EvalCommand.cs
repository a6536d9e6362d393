using System.CommandLine;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>eval</c>: what a vector does, beside everything it must be compared with.</summary>
internal static class EvalCommand
{
    public static Command Build(CommandConsole console)
    {
        var command = new Command("eval", "Measure a vector beside prompt, flattened direction, random and other controls.");
        command.Subcommands.Add(EvalMcqCommand.Build(console));
        command.Subcommands.Add(EvalPreferenceCommand.Build(console));
        command.Subcommands.Add(EvalPerplexityCommand.Build(console));
        command.Subcommands.Add(EvalBehaviourCommand.Build(console));
        command.Subcommands.Add(EvalMethodsCommand.Build(console));
        command.Subcommands.Add(EvalTransferCommand.Build(console));
        return command;
    }
}

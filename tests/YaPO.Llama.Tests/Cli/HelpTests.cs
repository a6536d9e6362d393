using System.CommandLine;
using System.CommandLine.Help;
using YaPO.Llama.Cli;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Tests.Cli;

public class HelpTests
{
    public static TheoryData<string> Commands
    {
        get
        {
            using var console = new CommandConsole(TextReader.Null, TextWriter.Null, TextWriter.Null, new Interrupts());
            return new TheoryData<string>(CommandCatalog.Build(console).SelectMany(c => Paths("", c)));
        }
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public async Task Help_EveryCommand_DescribesEveryOptionWithItsDefault(string path)
    {
        using var console = new CommandConsole(TextReader.Null, TextWriter.Null, TextWriter.Null, new Interrupts());
        var command = Find(CommandCatalog.Build(console), path);

        var run = await CliRun.Of([.. path.Split(' '), "--help"]);

        run.ExitCode.Should().Be(0);
        run.Error.Should().BeEmpty();
        run.Out.Should().Contain(command.Description);
        foreach (var option in command.Options.Where(o => o is not HelpOption))
        {
            option.Description.Should().NotBeNullOrWhiteSpace($"{path} {option.Name} needs a description").And.EndWith(".");
            (option.HasDefaultValue || option.Description!.Contains("default", StringComparison.Ordinal) || option.Description.Contains("required", StringComparison.Ordinal))
                .Should().BeTrue($"the help of {path} {option.Name} must say what holds without it");
            run.Out.Should().Contain(option.Name);
        }

        foreach (var argument in command.Arguments)
        {
            argument.Description.Should().NotBeNullOrWhiteSpace();
        }
    }

    [Fact]
    public async Task Help_Root_ListsEveryCommandAndTheExitCodes()
    {
        using var console = new CommandConsole(TextReader.Null, TextWriter.Null, TextWriter.Null, new Interrupts());

        var run = await CliRun.Of("--help");

        run.ExitCode.Should().Be(0);
        run.Out.Should().Contain("130 interrupted").And.Contain("--verbose").And.Contain("--quiet");
        foreach (var command in CommandCatalog.Build(console))
        {
            run.Out.Should().Contain(command.Name).And.Contain(command.Description);
        }
    }

    private static IEnumerable<string> Paths(string prefix, Command command)
    {
        var path = prefix + command.Name;
        return command.Subcommands.SelectMany(c => Paths(path + " ", c)).Prepend(path);
    }

    private static Command Find(IEnumerable<Command> commands, string path)
    {
        var names = path.Split(' ');
        var command = commands.Single(c => c.Name == names[0]);
        return names.Skip(1).Aggregate(command, (c, name) => c.Subcommands.Single(s => s.Name == name));
    }
}

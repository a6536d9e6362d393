using System.Diagnostics;
using System.Text.RegularExpressions;
using YaPO.Llama.Cli;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Tests.Documentation;

/// <summary>
/// Documentation that runs: every block marked <c>sh run</c> on the demo, every block marked <c>sh stand-ins</c> on small files under the names of the reader's own; every other command is parsed, every
/// link followed.
/// </summary>
public sealed partial class DocumentationTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);

    public static TheoryData<string> RunnableBlocks() => [.. FencedBlock.All().Where(b => b.IsRunnable).Select(b => b.ToString())];

    public static TheoryData<string> StandInBlocks() => [.. FencedBlock.All().Where(b => b.IsForStandIns).Select(b => b.ToString())];

    [Theory]
    [MemberData(nameof(RunnableBlocks))]
    public async Task Block_MarkedAsRunnable_Runs(string place)
    {
        using var folder = new TemporaryFolder();
        // Paths as in the checkout's root, and room to write beside them.
        Directory.CreateSymbolicLink(folder.File("models"), Path.Combine(Repository.Root, "models"));
        await Run(place, folder.Path, models: "");
    }

    [Theory]
    [MemberData(nameof(StandInBlocks))]
    public async Task Block_OfTheReadersFiles_RunsOnStandIns(string place)
    {
        using var files = new StandIns();
        await Run(place, files.Folder, models: files.Folder);
    }

    private static async Task Run(string place, string folder, string models)
    {
        var block = FencedBlock.All().Single(b => b.ToString() == place);
        var start = new ProcessStartInfo("bash", ["-euo", "pipefail", "-c", block.Script])
        {
            WorkingDirectory = folder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["PATH"] = AppContext.BaseDirectory + Path.PathSeparator + Environment.GetEnvironmentVariable("PATH");
        start.Environment["YAPO_CACHE_DIR"] = Path.Combine(folder, "cache");
        start.Environment["YAPO_MODEL_DIR"] = models;
        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        using var timeout = new CancellationTokenSource(Patience);
        try
        {
            await process.WaitForExitAsync(timeout.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
        }

        (timeout.IsCancellationRequested ? -1 : process.ExitCode).Should().Be(0, $"{place} ran\n{block.Script}\n{await output}\n{await error}");
    }

    [Fact]
    public void Commands_InEveryDocument_Parse()
    {
        using var console = new CommandConsole(TextReader.Null, TextWriter.Null, TextWriter.Null, new Interrupts());
        var commands = FencedBlock.All().SelectMany(block => block.Commands().Select(args => (block, args))).ToArray();

        var wrong = commands.Select(c => (c.block, c.args, Parsed: CommandLineProgram.Parse(c.args, console)))
            .Where(c => c.Parsed.Errors.Count > 0)
            .Select(c => $"{c.block}: yapo-llama {string.Join(' ', c.args)}: {string.Join("; ", c.Parsed.Errors.Select(e => e.Message))}");

        wrong.Should().BeEmpty("a documented command exists as it is written");
        commands.Length.Should().BeGreaterThan(20);
    }

    [Fact]
    public void Options_MentionedInText_Exist()
    {
        using var console = new CommandConsole(TextReader.Null, TextWriter.Null, TextWriter.Null, new Interrupts());
        var known = CommandCatalog.Build(console).SelectMany(Options).Concat(Foreign).ToHashSet();

        var unknown = FencedBlock.Files()
            .SelectMany(file => InlineCode().Matches(Fence().Replace(File.ReadAllText(file), ""))
                .SelectMany(code => OptionName().Matches(code.Groups[1].Value).Select(option => (File: Path.GetFileName(file), option.Value))))
            .Where(o => !known.Contains(o.Value))
            .Distinct();

        unknown.Should().BeEmpty("an option that the text names exists");
    }

    [Fact]
    public void Links_ToFilesAndHeadings_Exist()
    {
        var broken = FencedBlock.Files().Append(Path.Combine(Repository.Root, "models", "demo", "README.md"))
            .SelectMany(file => Link().Matches(File.ReadAllText(file)).Select(link => (File: file, Target: link.Groups[1].Value)))
            .Where(link => !link.Target.Contains("://", StringComparison.Ordinal))
            .Where(link => !Leads(link.File, link.Target))
            .Select(link => $"{Path.GetRelativePath(Repository.Root, link.File)} -> {link.Target}");

        broken.Should().BeEmpty();
    }

    [Fact]
    public void Symptoms_QuotedInTroubleshooting_AreWhatTheProgramSays()
    {
        string[] sources = [.. Sources("src"), .. Sources("native")];
        var quoted = File.ReadLines(Path.Combine(Repository.Root, "docs", "troubleshooting.md"))
            .Where(line => line.StartsWith('|'))
            .SelectMany(line => InlineCode().Matches(line.Split('|')[1]).Select(code => code.Groups[1].Value))
            .Where(code => code.Contains(' ', StringComparison.Ordinal)) // one word is a command
            .ToArray();

        // What stands between the dots and is no example's value: the words of one message, in one file.
        var wrong = quoted.Where(quote => !Array.Exists(sources, source => quote.Split('…').Select(part => ExampleValue().Replace(part, "").Trim()).All(part => source.Contains(part, StringComparison.Ordinal))));

        wrong.Should().BeEmpty("who searches for a message finds it as it is printed");
        quoted.Length.Should().BeGreaterThan(8);
    }

    private static IEnumerable<string> Sources(string folder) => Directory.EnumerateFiles(Path.Combine(Repository.Root, folder), "*", SearchOption.AllDirectories)
        .Where(file => Path.GetExtension(file) is ".cs" or ".cpp" or ".cmake" && !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/node_modules/", StringComparison.Ordinal))
        .Select(File.ReadAllText);

    // A target is a path relative to the file, a heading of the file, or a heading of another Markdown file.
    private static bool Leads(string file, string target)
    {
        var parts = target.Split('#');
        var path = parts[0].Length == 0 ? file : Path.Combine(Path.GetDirectoryName(file)!, parts[0]);
        return Path.Exists(path) && (parts.Length == 1 || Heading().Matches(Fence().Replace(File.ReadAllText(path), "")).Any(h => Anchor(h.Groups[1].Value) == parts[1]));
    }

    // As code hosts make them: lower case, letters, digits, hyphens and underscores kept, blanks to hyphens.
    private static string Anchor(string heading) =>
        string.Concat(heading.Trim().ToLowerInvariant().Where(c => char.IsLetterOrDigit(c) || c is ' ' or '-' or '_')).Replace(' ', '-');

    [Theory]
    [InlineData("a 'b c' \"d e\" \\\n f # g\nh|i", "a,b c,d e,f;h;i")]
    [InlineData("YAPO_X=1 yapo-llama x > out.txt 2>&1", "yapo-llama,x")]
    [InlineData("echo a\\ b && c", "echo,a b;c")]
    public void ShellWords_SplitAsAShellDoes(string text, string expected) =>
        string.Join(';', ShellWords.Commands(text).Select(c => string.Join(',', c))).Should().Be(expected);

    // Of programs other than ours that the text talks about.
    private static readonly string[] Foreign = ["--project", "--filter", "--no-build", "--run", "--list", "--build", "--preset", "--self-contained", "--help", "--version", "--add-source", "--seed", "--profile", "--emulated"];

    private static IEnumerable<string> Options(System.CommandLine.Command command) =>
        command.Options.SelectMany(o => o.Aliases.Append(o.Name)).Concat(command.Subcommands.SelectMany(Options)).Concat(["--verbose", "--quiet"]);

    [GeneratedRegex(@"^```.*?^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Fence();

    [GeneratedRegex(@"^#+ +([^\n]+)$", RegexOptions.Multiline)]
    private static partial Regex Heading();

    [GeneratedRegex("\"[A-Z0-9]+\"$|^GGML_[A-Z_]+=")]
    private static partial Regex ExampleValue();

    [GeneratedRegex("`([^`\n]+)`")]
    private static partial Regex InlineCode();

    [GeneratedRegex(@"(?<![\w-])--[a-z][a-z0-9-]+")]
    private static partial Regex OptionName();

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();
}

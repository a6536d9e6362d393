using System.Globalization;
using YaPO.Llama.Tests.Fuzz;

namespace YaPO.Llama.Tests.Cli;

/// <summary>
/// Damaged files of every format through the built executable: a command works or says in one message what is wrong with which file, with the documented exit code,
/// and leaves nothing half-written. As processes, because what this looks for would take a test process with it. <c>YAPO_FUZZ_PROCESSES</c>: damaged files per command.
/// </summary>
public sealed class DamagedFileTests : IDisposable
{
    private const int Failed = 1, BadInput = 3;
    private static readonly int Cases = int.TryParse(Environment.GetEnvironmentVariable("YAPO_FUZZ_PROCESSES"), CultureInfo.InvariantCulture, out var n) ? n : 2;
    private readonly DamagedWorld _world = new();

    public void Dispose() => _world.Dispose();

    public static TheoryData<string> Formats => new(DamagedWorld.Formats);

    [Theory]
    [MemberData(nameof(Formats))]
    public void EveryCommand_DamagedFile_WorksOrNamesIt(string name)
    {
        var format = _world.Format(name);
        var (worked, refused, wrong) = (0, 0, new List<string>());
        foreach (var command in format.Commands)
        {
            File.WriteAllBytes(_world[format.File], format.Valid);
            var whole = Run(command, format.File);
            whole.ExitCode.Should().Be(0, $"the undamaged file must be fine, or the test shows nothing: {command}\n{whole.Error}");
            Array.ForEach(Directory.GetFiles(_world.Folder, "out.gguf*"), File.Delete);
            var mutator = new Mutator(1 + Array.IndexOf(format.Commands, command));
            for (var i = 0; i < Cases; i++)
            {
                File.WriteAllBytes(_world[format.File], Damage(format, mutator, inHead: i % 2 == 0));
                var run = Run(command, format.File);
                (worked, refused) = run.ExitCode == 0 ? (worked + 1, refused) : (worked, refused + 1);
                if (Judge(run, format.File) is { } problem)
                {
                    wrong.Add($"case {i} of '{command}': {problem}\nexit code {run.ExitCode}\n{run.Error}{run.Out}{Keep(format, command, i)}");
                }

                var left = Directory.GetFiles(_world.Folder, "*.tmp*").Concat(run.ExitCode == 0 ? [] : Directory.GetFiles(_world.Folder, "out.gguf")).Select(Path.GetFileName).ToList();
                if (left.Count > 0)
                {
                    wrong.Add($"case {i} of '{command}' left {string.Join(", ", left)}");
                }

                Array.ForEach(Directory.GetFiles(_world.Folder, "out.gguf*"), File.Delete);
            }
        }

        wrong.Should().BeEmpty();
        (worked + refused).Should().Be(Cases * format.Commands.Length);
        refused.Should().BePositive("damage must be noticed, or the mutator is too tame");
    }

    /// <summary>What is wrong with how a command took a damaged file; null: nothing.</summary>
    private static string? Judge(CliRun run, string file) => run switch
    {
        { ExitCode: not (0 or Failed or BadInput) } => "neither worked nor was refused",
        { Error: var error } when error.Contains("unexpected", StringComparison.Ordinal) || error.Contains("   at ", StringComparison.Ordinal) => "a defect, not a message",
        { ExitCode: BadInput, Out: var verdict } when verdict.Contains("checks failed", StringComparison.Ordinal) => null, // vector verify's answer
        { ExitCode: not 0, Error: var error } when !error.Contains("error: ", StringComparison.Ordinal) => "no message",
        { ExitCode: BadInput, Error: var error } when !error.Contains(file, StringComparison.Ordinal) => "the message does not name the file",
        { ExitCode: Failed, Error: var error } when !error.Contains("finite", StringComparison.Ordinal) => "only numbers that overflow may fail while running",
        _ => null,
    };

    private static byte[] Damage(DamagedFormat format, Mutator mutator, bool inHead) =>
        inHead && format.Head > 0 ? [.. mutator.Mutate(format.Valid[..format.Head]), .. format.Valid[format.Head..]] : mutator.Mutate(format.Valid);

    private CliRun Run(string command, string file) => CliProcess.Run(
        _world.Folder, "", new Dictionary<string, string> { ["YAPO_CACHE_DIR"] = _world["cache"] },
        [.. command.Split(' ').Select(word => word.Replace("FILE", file, StringComparison.Ordinal).Replace("OUT", "out.gguf", StringComparison.Ordinal))]);

    /// <summary>With <c>YAPO_FUZZ_KEEP</c> the damaged file is copied there.</summary>
    private string Keep(DamagedFormat format, string command, int i)
    {
        if (Environment.GetEnvironmentVariable("YAPO_FUZZ_KEEP") is not { Length: > 0 } folder)
        {
            return "";
        }

        var kept = Path.Combine(folder, $"{string.Join('-', command.Split(' ')[..2])}-{i}-{format.File}");
        File.Copy(_world[format.File], kept, overwrite: true);
        return $"kept as {kept}\n";
    }
}

using System.Text;

namespace YaPO.Llama.Tests.Documentation;

/// <summary>A fenced block of a Markdown file of this repository.</summary>
/// <param name="File">Relative to the repository's root.</param>
/// <param name="Line">One-based line of the fence.</param>
/// <param name="Info">What follows the opening fence: <c>sh run</c>, <c>sh stand-ins</c>, <c>csharp</c>, or nothing.</param>
/// <param name="Text">What it holds.</param>
public sealed record FencedBlock(string File, int Line, string Info, string Text)
{
    private const string FromSource = "dotnet run -c Release --project src/YaPO.Llama.Cli -- ";

    /// <summary>Whether the tests run it on the demo.</summary>
    public bool IsRunnable => Info == "sh run";

    /// <summary>Whether the tests run it on small files under the names of the reader's own (<see cref="StandIns"/>).</summary>
    public bool IsForStandIns => Info == "sh stand-ins";

    /// <summary>The text with the long way to start the program written as <c>yapo-llama</c>.</summary>
    public string Script => Text.Replace(FromSource, "yapo-llama ", StringComparison.Ordinal);

    /// <summary>Every Markdown file that a reader meets: those in the root and in docs.</summary>
    public static IEnumerable<string> Files() =>
        Directory.GetFiles(Repository.Root, "*.md").Concat(Directory.GetFiles(Path.Combine(Repository.Root, "docs"), "*.md")).Order(StringComparer.Ordinal);

    public static IEnumerable<FencedBlock> All() => Files().SelectMany(Of);

    private static IEnumerable<FencedBlock> Of(string path)
    {
        var lines = System.IO.File.ReadAllLines(path);
        for (var i = 0; i < lines.Length; i++)
        {
            if (!lines[i].StartsWith("```", StringComparison.Ordinal))
            {
                continue;
            }

            var start = i;
            var text = new StringBuilder();
            while (++i < lines.Length && !lines[i].StartsWith("```", StringComparison.Ordinal))
            {
                text.Append(lines[i]).Append('\n');
            }

            yield return new FencedBlock(Path.GetRelativePath(Repository.Root, path), start + 1, lines[start][3..].Trim(), text.ToString());
        }
    }

    /// <summary>The arguments of every <c>yapo-llama</c> command in the block, after quotes, continued lines and comments.</summary>
    public IEnumerable<string[]> Commands()
    {
        var isShell = Info is "" or "sh" || IsRunnable || IsForStandIns;
        return !isShell ? [] : ShellWords.Commands(Script).Where(words => words[0] == "yapo-llama").Select(words => words.Skip(1).ToArray());
    }

    public override string ToString() => $"{File}:{Line}";
}

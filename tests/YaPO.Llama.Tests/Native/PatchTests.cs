namespace YaPO.Llama.Tests.Native;

/// <summary>
/// The patch on llama.cpp stays one small file: every line of it has to be carried to the next release.
/// That it applies to the pinned tree is shown by every build (native/cmake/LlamaCpp.cmake applies it to a checked tree).
/// </summary>
public sealed class PatchTests
{
    private const int MostChangedLines = 150;

    [Fact]
    public void Patch_IsOneFileAndSmall()
    {
        string directory = Path.Combine(Root(), "native", "patches");
        string patch = Directory.GetFiles(directory, "*.patch").Should().ContainSingle().Subject;
        string[] lines = File.ReadAllLines(patch);

        int changed = lines.Count(line => line.Length > 0 && line[0] is '+' or '-' && !line.StartsWith("+++", StringComparison.Ordinal) && !line.StartsWith("---", StringComparison.Ordinal));
        changed.Should().BeInRange(1, MostChangedLines);
        lines.Where(line => line.StartsWith("+++ ", StringComparison.Ordinal)).Should().OnlyContain(line => line.StartsWith("+++ b/src/llama-", StringComparison.Ordinal));
    }

    private static string Root()
    {
        DirectoryInfo? directory = new(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "YaPO.Llama.sln")))
        {
            directory = directory.Parent;
        }

        return directory?.FullName ?? throw new DirectoryNotFoundException($"No YaPO.Llama.sln above {AppContext.BaseDirectory}");
    }
}

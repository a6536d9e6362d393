namespace YaPO.Llama.Cli.Terminal;

/// <summary>Paths as people read them.</summary>
internal static class Paths
{
    /// <summary>Relative to the current folder where the path lies below it, else as it is.</summary>
    public static string Short(string path) =>
        Path.GetRelativePath(Environment.CurrentDirectory, path) is var relative && relative.StartsWith("..", StringComparison.Ordinal) ? path : relative;

    /// <summary>In quotes where a shell would take it apart otherwise, for commands that are shown to be copied.</summary>
    public static string Quoted(string path) =>
        path.All(c => char.IsLetterOrDigit(c) || "/\\.:_-+,=@".Contains(c, StringComparison.Ordinal)) ? path : $"'{path.Replace("'", "'\\''", StringComparison.Ordinal)}'";
}

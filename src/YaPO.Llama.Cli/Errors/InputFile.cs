namespace YaPO.Llama.Cli.Errors;

/// <summary>Checks on inputs before long work starts, so that a typo costs a second and not an hour.</summary>
internal static class InputFile
{
    /// <summary>Returns <paramref name="path"/> when it is a readable file.</summary>
    /// <exception cref="YapoException">Missing, a folder, or unreadable (<see cref="YapoErrorKind.Io"/>).</exception>
    public static string Require(string path)
    {
        IO.InputFile.Open(path).Dispose();
        return path;
    }
}

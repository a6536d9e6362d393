namespace YaPO.Llama.Cli.Errors;

/// <summary>Checks on paths before long work starts, so that a typo costs a second and not an hour.</summary>
internal static class InputFile
{
    /// <summary>Returns <paramref name="path"/> when it is a readable file; <paramref name="what"/> names it in the message.</summary>
    /// <exception cref="YapoException">Missing, a folder, or unreadable (<see cref="YapoErrorKind.Io"/>).</exception>
    public static string Require(string path, string what)
    {
        if (Directory.Exists(path))
        {
            throw new YapoException(YapoErrorKind.Io, $"{what} {path} is a folder; a file is needed");
        }

        if (!File.Exists(path))
        {
            throw new YapoException(YapoErrorKind.Io, $"{what} {path} does not exist (looked in {Path.GetDirectoryName(Path.GetFullPath(path))})");
        }

        try
        {
            using var stream = File.OpenRead(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new YapoException(YapoErrorKind.Io, $"{what} {path} cannot be read: {e.Message}", e);
        }

        return path;
    }
}

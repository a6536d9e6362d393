namespace YaPO.Llama.Cli.Errors;

/// <summary>Refuses outputs that could not be written, before long work starts.</summary>
internal static class OutputFile
{
    /// <summary>
    /// Returns <paramref name="path"/> when a file can be created there. Tries it with a temporary file, since permissions alone do not tell
    /// about read-only mounts. <paramref name="inputs"/> are files that the output must not replace.
    /// </summary>
    /// <exception cref="YapoException">The folder is missing or not writable, the path is a folder (<see cref="YapoErrorKind.Failed"/>), or it is
    /// also an input (<see cref="YapoErrorKind.InvalidArgument"/>).</exception>
    public static string Require(string path, params IEnumerable<string?> inputs)
    {
        var full = Path.GetFullPath(path);
        if (inputs.Any(input => input is not null && string.Equals(Path.GetFullPath(input), full, StringComparison.Ordinal)))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{path} is to be written and is also an input; name another file");
        }

        if (Directory.Exists(full))
        {
            throw new YapoException(YapoErrorKind.Failed, $"cannot write {path}: it is a folder; name a file in it");
        }

        var folder = Path.GetDirectoryName(full)!;
        if (!Directory.Exists(folder))
        {
            throw new YapoException(YapoErrorKind.Failed, $"cannot write {path}: the folder {folder} does not exist; create it first");
        }

        var probe = Path.Combine(folder, $".yapo-{Environment.ProcessId:x}-{Guid.NewGuid():N}.tmp");
        try
        {
            using var stream = new FileStream(probe, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1, FileOptions.DeleteOnClose);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            var reason = e is UnauthorizedAccessException ? $"no permission to make files in {folder}" : e.Message.Replace(probe, folder, StringComparison.Ordinal);
            throw new YapoException(YapoErrorKind.Failed, $"cannot write {path}: {reason}", e);
        }

        return path;
    }
}

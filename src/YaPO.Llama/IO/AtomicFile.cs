namespace YaPO.Llama.IO;

/// <summary>Writes a file so that a reader sees the old content or the new, never a part: temporary file, flush to disk, rename.</summary>
public static class AtomicFile
{
    /// <summary>
    /// Lets <paramref name="write"/> fill a temporary file beside <paramref name="path"/>, flushes it to disk and renames it over
    /// <paramref name="path"/>. When anything fails the temporary file is removed and the old file is untouched.
    /// </summary>
    /// <exception cref="YapoException">The folder does not exist or cannot be written (<see cref="YapoErrorKind.Io"/>).</exception>
    public static void Write(string path, Action<FileStream> write)
    {
        var full = Path.GetFullPath(path);
        var temporary = $"{full}.{Environment.ProcessId:x}-{Guid.NewGuid():N}.tmp";
        try
        {
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1 << 16))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, full, overwrite: true);
        }
        catch (Exception e)
        {
            TryDelete(temporary);
            if (e is IOException or UnauthorizedAccessException)
            {
                throw new YapoException(YapoErrorKind.Io, $"cannot write {path}: {e.Message}", e);
            }

            throw;
        }
    }

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The original failure is the one to report; a stray temporary file is named so that it can be recognized.
        }
    }
}

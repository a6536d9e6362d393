using System.Security.Cryptography;

namespace YaPO.Llama.IO;

/// <summary>Opens files for reading with messages written for a person instead of framework exceptions.</summary>
public static class InputFile
{
    /// <summary>Opens <paramref name="path"/> for reading; other processes may read it too.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Io"/>: missing, a folder, or not readable.</exception>
    public static FileStream Open(string path)
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, 1 << 16);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot read {path}: there is no such file", e);
        }
        catch (UnauthorizedAccessException e)
        {
            var reason = Directory.Exists(path) ? "it is a folder, a file was expected" : "permission denied";
            throw new YapoException(YapoErrorKind.Io, $"cannot read {path}: {reason}", e);
        }
        catch (Exception e) when (e is IOException or ArgumentException or NotSupportedException)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot read '{path}': {e.Message}", e);
        }
    }

    /// <summary>SHA-256 of the whole file as lower-case hexadecimal.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Io"/> when it cannot be read.</exception>
    public static string Sha256(string path, CancellationToken cancellation = default) => Sha256Reporting(path, null, cancellation);

    /// <summary>SHA-256 of the whole file as lower-case hexadecimal; <paramref name="read"/> is told of every part read, in bytes.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Io"/> when it cannot be read.</exception>
    internal static string Sha256Reporting(string path, Action<long>? read, CancellationToken cancellation)
    {
        using var stream = Open(path);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[1 << 20];
        try
        {
            for (int n; (n = stream.Read(buffer, 0, buffer.Length)) > 0;)
            {
                cancellation.ThrowIfCancellationRequested();
                hash.AppendData(buffer, 0, n);
                read?.Invoke(n);
            }
        }
        catch (IOException e)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot read {path}: {e.Message}", e);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}

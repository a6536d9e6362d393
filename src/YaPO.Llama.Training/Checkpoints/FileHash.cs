using System.Security.Cryptography;

namespace YaPO.Llama.Training.Checkpoints;

/// <summary>SHA-256 of files.</summary>
internal static class FileHash
{
    /// <summary>Lower-case hexadecimal SHA-256 of the file's bytes.</summary>
    /// <exception cref="YapoException">The file cannot be read.</exception>
    public static string Sha256(string path)
    {
        try
        {
            using var stream = File.OpenRead(path);
            return Convert.ToHexStringLower(SHA256.HashData(stream));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot read {path}: {e.Message}", e);
        }
    }
}

using System.Globalization;
using System.Text;
using System.Text.Json;
using YaPO.Llama.IO;

namespace YaPO.Llama.Models;

/// <summary>
/// Remembers fingerprints and hashes of model files by path, size and time of change, in one small JSON file in the user's cache, so that looking a
/// model up does not read every file again. Losing the file costs time, never correctness; what cannot be written is simply not remembered.
/// </summary>
public sealed class FingerprintCache
{
    private readonly string? path;
    private readonly Dictionary<string, Entry> entries;
    private bool changed;

    /// <summary>Opens the cache in <paramref name="folder"/>; null remembers nothing beyond this object.</summary>
    public FingerprintCache(string? folder)
    {
        path = folder is null ? null : Path.Combine(folder, "fingerprints.json");
        entries = Read(path);
    }

    /// <summary>The cache of the user (<see cref="ModelLocator.UserCacheFolder"/>).</summary>
    public static FingerprintCache ForUser() => new(ModelLocator.UserCacheFolder);

    /// <summary>Identity of a model file.</summary>
    /// <exception cref="YapoException">It is no GGUF model.</exception>
    public ModelIdentity Identity(string modelPath)
    {
        var (key, stamp) = Key(modelPath);
        if (entries.TryGetValue(key, out var entry) && entry.Stamp == stamp && entry.Identity is not null)
        {
            return entry.Identity;
        }

        var identity = ModelFingerprint.Compute(modelPath);
        entries[key] = new Entry(stamp, identity, entry?.Stamp == stamp ? entry.Sha256 : null);
        changed = true;
        return identity;
    }

    /// <summary>SHA-256 of the whole file; slow the first time for large files.</summary>
    public string Sha256(string modelPath, CancellationToken cancellation = default)
    {
        var (key, stamp) = Key(modelPath);
        if (entries.TryGetValue(key, out var entry) && entry.Stamp == stamp && entry.Sha256 is not null)
        {
            return entry.Sha256;
        }

        var hash = InputFile.Sha256(modelPath, cancellation);
        entries[key] = new Entry(stamp, entry?.Stamp == stamp ? entry.Identity : null, hash);
        changed = true;
        return hash;
    }

    /// <summary>Writes what was learned; does nothing when nothing was.</summary>
    public void Save()
    {
        if (path is null || !changed)
        {
            return;
        }

        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            AtomicFile.Write(path, stream => JsonSerializer.Serialize(stream, entries.Where(e => File.Exists(e.Key)).ToDictionary()));
            changed = false;
        }
        catch (Exception e) when (e is YapoException or IOException or UnauthorizedAccessException)
        {
            // A read-only home is no reason to fail: the next start computes again.
        }
    }

    private static (string Key, string Stamp) Key(string modelPath)
    {
        var info = new FileInfo(modelPath);
        return info.Exists
            ? (info.FullName, string.Create(CultureInfo.InvariantCulture, $"{info.Length}-{info.LastWriteTimeUtc.Ticks}"))
            : throw new YapoException(YapoErrorKind.Io, $"cannot read {modelPath}: there is no such file");
    }

    private static Dictionary<string, Entry> Read(string? path)
    {
        try
        {
            if (path is not null && File.Exists(path))
            {
                var read = JsonSerializer.Deserialize<Dictionary<string, Entry?>>(File.ReadAllText(path, Encoding.UTF8)) ?? [];
                return read.Where(e => e.Value is not null).ToDictionary(e => e.Key, e => e.Value!);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            // A broken cache is an empty one.
        }

        return [];
    }

    /// <summary>What is known about a file.</summary>
    private sealed record Entry(string Stamp, ModelIdentity? Identity, string? Sha256);
}

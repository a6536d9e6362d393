using YaPO.Llama.Gguf;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sae;

/// <summary>Finds the SAE file that a vector's rows were taken from, by identity, not by name.</summary>
public static class SaeSearch
{
    /// <summary>Where the SAE of a vector is looked for first: beside it, and in the folder above.</summary>
    public static IEnumerable<string> FoldersOf(string vectorPath)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(vectorPath))!;
        yield return folder;
        if (Path.GetDirectoryName(folder) is { } above)
        {
            yield return above;
        }
    }

    /// <summary>The first SAE file in these folders (not below them) that is the one <paramref name="wanted"/> names; null where none is. The caller disposes it.</summary>
    public static SaeFile? Find(SaeReference wanted, IEnumerable<string> folders)
    {
        ArgumentNullException.ThrowIfNull(wanted);
        ArgumentNullException.ThrowIfNull(folders);
        return wanted.Sha256.Length == 0
            ? null
            : Candidates(folders).Select(path => OpenIf(path, sae => Matches(sae, wanted))).FirstOrDefault(sae => sae is not null);
    }

    /// <summary>The first SAE file in these folders that reads a residual stream of this width; null where none is. The caller disposes it.</summary>
    public static SaeFile? FindWidth(int modelWidth, IEnumerable<string> folders)
    {
        ArgumentNullException.ThrowIfNull(folders);
        return Candidates(folders).Select(path => OpenIf(path, sae => sae.Info.DModel == modelWidth && sae.Info.Site == "res")).FirstOrDefault(sae => sae is not null);
    }

    /// <summary>Opens the SAE that a person named for a vector.</summary>
    /// <exception cref="YapoException">Unreadable, or (<see cref="YapoErrorKind.Mismatch"/>) another SAE than the vector's.</exception>
    public static SaeFile OpenFor(SaeReference wanted, string path, string vectorPath)
    {
        ArgumentNullException.ThrowIfNull(wanted);
        var sae = SaeFile.Open(path);
        if (Matches(sae, wanted))
        {
            return sae;
        }

        using (sae)
        {
            throw new YapoException(
                YapoErrorKind.Mismatch,
                $"{path} has {sae.Info.Width} latents and SHA-256 {Short(sae.Identity)}; {vectorPath} was made from {Describe(wanted)}. Give that file");
        }
    }

    /// <summary>The SAE in words.</summary>
    internal static string Describe(SaeReference sae) =>
        $"an SAE{(sae.Name.Length > 0 ? $" named {sae.Name}" : "")} of {sae.Width} latents with SHA-256 {(sae.Sha256.Length > 0 ? Short(sae.Sha256) : "unknown")}";

    /// <summary>Whether the file is the SAE that a vector names.</summary>
    internal static bool Matches(SaeFile sae, SaeReference wanted) =>
        sae.Info.Width == wanted.Width && sae.Info.Activation == wanted.Activation && sae.Info.TopK == wanted.TopK
        && string.Equals(sae.Identity, wanted.Sha256, StringComparison.OrdinalIgnoreCase);

    private static IEnumerable<string> Candidates(IEnumerable<string> folders) =>
        folders.Where(Directory.Exists).Select(Path.GetFullPath).Distinct(StringComparer.Ordinal)
            .SelectMany(f => Directory.EnumerateFiles(f, "*.gguf").Order(StringComparer.Ordinal));

    private static SaeFile? OpenIf(string path, Func<SaeFile, bool> condition)
    {
        try
        {
            using (var gguf = GgufFile.Open(path))
            {
                if (gguf.Architecture != SaeFile.Architecture)
                {
                    return null;
                }
            }

            var sae = SaeFile.Open(path);
            if (condition(sae))
            {
                return sae;
            }

            sae.Dispose();
            return null;
        }
        catch (YapoException)
        {
            return null; // a broken neighbour is no reason to stop
        }
    }

    private static string Short(string sha256) => sha256.Length > 12 ? sha256[..12] + "…" : sha256;
}

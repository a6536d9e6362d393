using System.Globalization;
using System.Text.RegularExpressions;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Sae.Formats;

/// <summary>A download as it lies on disk: the weights, the config beside them, and the names of its folders.</summary>
internal sealed partial class SaeSource : IDisposable
{
    private static readonly string[] ConfigNames = ["cfg.json", "config.json", "hyperparams.json"];

    private SaeSource(string path)
    {
        Path = path;
        Folders = System.IO.Path.GetFullPath(path).Split('/', '\\');
        Tensors = TensorFile.Open(path);
        try
        {
            Config = FindConfig(path);
        }
        catch
        {
            Tensors.Dispose();
            throw;
        }
    }

    /// <summary>The weights.</summary>
    public string Path { get; }

    /// <summary>The parts of the full path, the file name last.</summary>
    public IReadOnlyList<string> Folders { get; }

    public TensorSource Tensors { get; }

    public SaeConfig Config { get; }

    /// <summary>Opens the weights at <paramref name="input"/>, or finds them in that folder.</summary>
    /// <param name="input">File or folder.</param>
    /// <param name="files">Names to look for in a folder, best first; one <c>*</c> stands for the layer.</param>
    /// <param name="layer">Chooses among files of several layers.</param>
    /// <exception cref="YapoException">Nothing there, several files and no layer, or no container that is known.</exception>
    public static SaeSource Open(string input, IEnumerable<string> files, int? layer)
    {
        if (File.Exists(input))
        {
            return new SaeSource(input);
        }

        if (!Directory.Exists(input))
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot read {input}: there is no such file or folder");
        }

        var names = files.Distinct().ToList();
        foreach (var name in names)
        {
            var found = name.Contains('*', StringComparison.Ordinal) ? Matching(input, name, layer) : System.IO.Path.Combine(input, name);
            if (found is not null && File.Exists(found))
            {
                return new SaeSource(found);
            }
        }

        throw new YapoException(YapoErrorKind.Io, $"cannot read {input}: the folder holds no SAE weights; expected one of {string.Join(", ", names)}");
    }

    /// <summary>Whether all of the tensors are there.</summary>
    public bool Has(params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
        {
            if (!Tensors.Contains(name))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>The first group 1 of <paramref name="pattern"/> among the names of file and folders, the innermost first; null: none matches.</summary>
    public string? FromPath(Regex pattern) => Folders.Reverse().Select(f => pattern.Match(f)).FirstOrDefault(m => m.Success)?.Groups[1].Value;

    /// <summary>The same as a number.</summary>
    public int? NumberFromPath(Regex pattern) => int.TryParse(FromPath(pattern), NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? n : null;

    /// <summary>
    /// Where the file came from, as far as its path says: <c>huggingface:owner/repository/path</c> inside Hugging Face's cache
    /// (<c>models--owner--repository/snapshots/revision/path</c>), else the file's name and its folder's.
    /// </summary>
    public string Origin() => InCache() is { } c ? $"huggingface:{c.Owner}/{c.Repository}/{c.Inside}" : string.Join('/', Folders.TakeLast(2).Where(f => f.Length > 0));

    /// <summary>A name for people: the repository and the folders in it, or the last two folders.</summary>
    public string FolderName()
    {
        var path = InCache() is { } c ? $"{c.Repository}/{c.Inside}".Split('/') : [.. Folders.TakeLast(3)];
        return string.Join('/', path.SkipLast(1).Where(f => f.Length > 0 && f != "checkpoints"));
    }

    public void Dispose() => Tensors.Dispose();

    private (string Owner, string Repository, string Inside)? InCache()
    {
        for (var i = 0; i < Folders.Count - 3; i++)
        {
            if (CachedRepository().Match(Folders[i]) is { Success: true } match && Folders[i + 1] == "snapshots")
            {
                return (match.Groups[1].Value, match.Groups[2].Value, string.Join('/', Folders.Skip(i + 3)));
            }
        }

        return null;
    }

    private static string? Matching(string folder, string pattern, int? layer)
    {
        if (layer is { } n)
        {
            return System.IO.Path.Combine(folder, pattern.Replace("*", n.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal));
        }

        var found = Directory.GetFiles(folder, pattern);
        return found.Length <= 1
            ? found.FirstOrDefault()
            : throw new YapoException(YapoErrorKind.InvalidArgument, $"{folder} holds {found.Length} files {pattern}; give one of them, or --layer");
    }

    private static SaeConfig FindConfig(string weights)
    {
        var folder = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(weights))!;
        string[] places = System.IO.Path.GetFileName(folder) == "checkpoints" ? [folder, System.IO.Path.GetDirectoryName(folder) ?? folder] : [folder];
        var path = places.SelectMany(place => ConfigNames.Select(name => System.IO.Path.Combine(place, name))).FirstOrDefault(File.Exists);
        return path is null ? SaeConfig.Empty : SaeConfig.Read(path);
    }

    [GeneratedRegex("^models--([^-].*?)--(.+)$")]
    private static partial Regex CachedRepository();
}

using YaPO.Llama.IO;
using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Steered;

/// <summary>Finds vectors by name and models by fingerprint, so that <c>chat --vector egypt.ysv</c> needs neither folder nor --model.</summary>
internal sealed class ModelSearch(string? modelDirectory)
{
    /// <summary>Environment variable with folders to look in, separated like PATH.</summary>
    public const string DirectoryVariable = "YAPO_MODEL_DIR";

    private const int MostDepth = 3;

    // Best first, for when neither the exact file nor the quantization it was trained on is there.
    private static readonly string[] Precision =
        ["F32", "BF16", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0"];

    /// <summary>The folders looked in, in order: --model-dir, the environment, models/ here and above the program, the user's cache.</summary>
    public IReadOnlyList<string> Folders =>
    [
        .. Candidates().Where(f => !string.IsNullOrEmpty(f)).Select(f => Path.GetFullPath(f!)).Distinct(StringComparer.Ordinal).Where(Directory.Exists),
    ];

    /// <summary>The vector file: as named, else a file of that name in <see cref="Folders"/>.</summary>
    /// <exception cref="YapoException">There is none (<see cref="YapoErrorKind.Io"/>); the message lists the folders.</exception>
    public string FindVector(string name)
    {
        if (File.Exists(name))
        {
            return name;
        }

        if (Path.GetFileName(name) == name && Folders.SelectMany(f => Files(f, name)).FirstOrDefault() is { } found)
        {
            return Shown(found);
        }

        throw new YapoException(YapoErrorKind.Io, $"vector {name} does not exist; looked in {string.Join(", ", Folders.Prepend(Environment.CurrentDirectory))}");
    }

    /// <summary>
    /// The model that the vector was made for. Of several quantizations: the exact file it was trained on, else the same quantization, else the
    /// highest precision. With <paramref name="allowMismatch"/> any model of its d_model will do when there is no better one.
    /// </summary>
    /// <exception cref="YapoException">There is none (<see cref="YapoErrorKind.Mismatch"/>): what was expected, what was found, what to do.</exception>
    public FoundModel FindModel(LoadedVector vector, bool allowMismatch)
    {
        var wanted = vector.File.Base;
        var folders = Folders.Prepend(Path.GetDirectoryName(Path.GetFullPath(vector.Path))!).Distinct(StringComparer.Ordinal).ToList();
        var models = folders.SelectMany(f => Files(f, "*.gguf")).Distinct(StringComparer.Ordinal).Select(Identify).OfType<Candidate>().ToList();
        var fitting = models.Where(m => wanted.Fingerprint.Length > 0 && m.Identity.Fingerprint == wanted.Fingerprint).ToList();
        if (fitting.Count > 0)
        {
            return Best(fitting, wanted);
        }

        if (allowMismatch && models.FirstOrDefault(m => m.Identity.DModel == vector.File.DModel) is { } other)
        {
            return new FoundModel(Shown(other.Path), "no model matches the vector's fingerprint; this one has its d_model (--allow-mismatch)");
        }

        var expected = wanted.Fingerprint.Length > 0
            ? $"{(wanted.Name.Length > 0 ? $"'{wanted.Name}'" : "a model")} ({wanted.Architecture}, d_model {vector.File.DModel}) with fingerprint {wanted.Fingerprint}"
            : "a model that it does not name";
        var found = models.Count == 0 ? "no model there" : $"there {string.Join("; ", models.Take(5).Select(m => $"{Shown(m.Path)} has {m.Identity.Fingerprint[..12]}…, d_model {m.Identity.DModel}"))}";
        throw new YapoException(
            YapoErrorKind.Mismatch,
            $"{vector.Path} was made for {expected}. Looked in {string.Join(", ", folders)}: {found}. Give the model with --model FILE, or its folder with --model-dir or {DirectoryVariable}");
    }

    private static FoundModel Best(List<Candidate> fitting, BaseModel wanted)
    {
        var why = fitting.Count == 1 ? "the vector's model by fingerprint" : $"of {fitting.Count} quantizations of the vector's model";
        if (fitting.Count > 1 && wanted.FileSha256.Length > 0 && fitting.Find(m => InputFile.Sha256(m.Path) == wanted.FileSha256) is { } exact)
        {
            return new FoundModel(Shown(exact.Path), $"{why}, the exact file it was trained on");
        }

        if (fitting.Count > 1 && fitting.Find(m => m.Identity.Quantization == wanted.Quantization) is { } same)
        {
            return new FoundModel(Shown(same.Path), $"{why}, the one it was trained on ({wanted.Quantization})");
        }

        var best = fitting.OrderBy(m => Array.IndexOf(Precision, m.Identity.Quantization) is var rank and >= 0 ? rank : Precision.Length).ThenBy(m => m.Path, StringComparer.Ordinal).First();
        return new FoundModel(Shown(best.Path), fitting.Count == 1 ? why : $"{why}, the highest precision");
    }

    private static Candidate? Identify(string path)
    {
        try
        {
            return new Candidate(path, ModelFingerprint.Compute(path));
        }
        catch (YapoException)
        {
            return null; // vectors, SAEs and broken files lie in the same folders
        }
    }

    private static IEnumerable<string> Files(string folder, string pattern) => Directory.EnumerateFiles(
        folder, pattern, new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = MostDepth, IgnoreInaccessible = true }).Order(StringComparer.Ordinal);

    private IEnumerable<string?> Candidates()
    {
        yield return modelDirectory;
        foreach (var folder in (Environment.GetEnvironmentVariable(DirectoryVariable) ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
        {
            yield return folder;
        }

        yield return "models";
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            yield return Path.Combine(folder.FullName, "models");
        }

        var cache = Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } xdg && !OperatingSystem.IsWindows()
            ? xdg
            : OperatingSystem.IsWindows()
                ? Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData)
                : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
        yield return Path.Combine(cache, "yapo-llama", "models");
    }

    // A path below the current folder is shorter to read relative to it.
    private static string Shown(string path) =>
        Path.GetRelativePath(Environment.CurrentDirectory, path) is var relative && relative.StartsWith("..", StringComparison.Ordinal) ? path : relative;

    private sealed record Candidate(string Path, ModelIdentity Identity);
}

namespace YaPO.Llama.Models;

/// <summary>A model that fits, and why it was taken.</summary>
/// <param name="Path">The file.</param>
/// <param name="Identity">What it is.</param>
/// <param name="Reason">For the person: <c>the exact file the vector was trained on</c>, ...</param>
/// <param name="Alternatives">Other files with the same fingerprint.</param>
public sealed record LocatedModel(string Path, ModelIdentity Identity, string Reason, IReadOnlyList<string> Alternatives);

/// <summary>
/// Finds the model that a vector was made for by its fingerprint, and vector files by bare name. Looked in, first match of a folder wins nothing: all
/// models of all folders compete. Order of preference: the exact file trained on, the same quantization, the highest precision, the earlier folder.
/// </summary>
public sealed class ModelLocator
{
    /// <summary>Environment variable with further model folders, separated like <c>PATH</c>.</summary>
    public const string DirectoryVariable = "YAPO_MODEL_DIR";

    private const string VectorExtension = ".ysv";
    private const int DepthLimit = 4;
    private const int FileLimit = 2000;

    private readonly FingerprintCache cache;

    /// <summary>Looks in these folders, in this order, down to four levels.</summary>
    /// <param name="folders">See <see cref="DefaultFolders"/>.</param>
    /// <param name="cache">Null: nothing is remembered.</param>
    public ModelLocator(IEnumerable<string> folders, FingerprintCache? cache = null)
    {
        Folders = [.. folders.Select(Path.GetFullPath).Distinct()];
        this.cache = cache ?? new FingerprintCache(null);
    }

    /// <summary>Where it looks.</summary>
    public IReadOnlyList<string> Folders { get; }

    /// <summary>The user's cache of this project: <c>$YAPO_CACHE_DIR</c>, else <c>yapo-llama</c> in the system's cache folder; null where there is no home.</summary>
    public static string? UserCacheFolder
    {
        get
        {
            if (Environment.GetEnvironmentVariable("YAPO_CACHE_DIR") is { Length: > 0 } own)
            {
                return own;
            }

            if (Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } xdg)
            {
                return Path.Combine(xdg, "yapo-llama");
            }

            if (OperatingSystem.IsWindows())
            {
                return Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData) is { Length: > 0 } local ? Path.Combine(local, "yapo-llama", "cache") : null;
            }

            return Environment.GetFolderPath(Environment.SpecialFolder.UserProfile) is { Length: > 0 } home ? Path.Combine(home, ".cache", "yapo-llama") : null;
        }
    }

    /// <summary>
    /// The usual locator: the given folder, <c>$YAPO_MODEL_DIR</c>, every <c>models</c> folder at or above the working folder and the executable (so a
    /// checkout finds its own), <c>models</c> in the user's cache; remembering fingerprints there.
    /// </summary>
    /// <param name="modelDirectory"><c>--model-dir</c>; must exist.</param>
    public static ModelLocator Create(string? modelDirectory = null)
    {
        if (modelDirectory is not null && !Directory.Exists(modelDirectory))
        {
            throw new YapoException(YapoErrorKind.Io, $"model folder {modelDirectory}: there is no such folder");
        }

        return new ModelLocator(DefaultFolders(modelDirectory), FingerprintCache.ForUser());
    }

    /// <summary>The folders of <see cref="Create"/>, existing ones only.</summary>
    public static IEnumerable<string> DefaultFolders(string? modelDirectory = null)
    {
        IEnumerable<string> folders = modelDirectory is null ? [] : [modelDirectory];
        folders = folders.Concat((Environment.GetEnvironmentVariable(DirectoryVariable) ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries));
        folders = folders.Concat(ModelsAbove(Directory.GetCurrentDirectory())).Concat(ModelsAbove(AppContext.BaseDirectory));
        if (UserCacheFolder is { } cacheFolder)
        {
            folders = folders.Append(Path.Combine(cacheFolder, "models"));
        }

        return folders.Where(Directory.Exists);
    }

    /// <summary>
    /// Resolves a vector file: the path as given when it exists, else a file of that name in a <c>vectors</c> folder (or anywhere) under the model
    /// folders, so that a bare <c>egypt.ysv</c> finds <c>models/demo/vectors/egypt.ysv</c>. Where nothing has the name as it stands, <c>.ysv</c> is tried behind it.
    /// </summary>
    /// <exception cref="YapoException">Not found; the message says where it was looked for, and which vectors there are.</exception>
    public string ResolveVector(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        var bare = Path.GetFileName(path) == path;
        foreach (var candidate in new[] { path, path + VectorExtension })
        {
            if (File.Exists(candidate))
            {
                return candidate;
            }

            if (bare && FindByName(candidate) is { } found)
            {
                return found;
            }
        }

        throw new YapoException(YapoErrorKind.Io, $"cannot read {path}: there is no such file" + (bare ? $", nor one of that name under {List(Folders)}{OtherVectors()}" : ""));
    }

    // Compared as a name, not as a pattern: "*.ysv" must not find anything.
    private string? FindByName(string name) => Folders
        .Select(folder => Files(folder, "*" + Path.GetExtension(name)).Where(f => Path.GetFileName(f) == name).OrderBy(f => f.Length).ThenBy(f => f, StringComparer.Ordinal).FirstOrDefault())
        .FirstOrDefault(found => found is not null);

    private string OtherVectors()
    {
        var names = Folders.SelectMany(folder => Files(folder, "*" + VectorExtension)).Select(f => Path.GetFileName(f)!).Distinct().Order(StringComparer.Ordinal).ToArray();
        return names.Length == 0 ? "" : $"; there are {string.Join(", ", names.Take(8))}{(names.Length > 8 ? $" and {names.Length - 8} more" : "")}";
    }

    /// <summary>Finds a model with the fingerprint of <paramref name="wanted"/>.</summary>
    /// <param name="wanted">The base model that a vector or SAE names.</param>
    /// <param name="cancellation">Stops the reading of files.</param>
    /// <exception cref="YapoException">None (<see cref="YapoErrorKind.Mismatch"/>): the message says what was expected and what was found.</exception>
    public LocatedModel Find(BaseModel wanted, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(wanted);
        if (wanted.Fingerprint.Length == 0)
        {
            throw new YapoException(YapoErrorKind.Mismatch, "the file does not say which model it was made for: name one with --model");
        }

        var models = Models(cancellation);
        cache.Save();
        var fitting = models.Where(m => m.Identity.Fingerprint == wanted.Fingerprint).ToArray();
        if (fitting.Length == 0)
        {
            throw NoMatch(wanted, models);
        }

        var (chosen, reason) = Choose(wanted, fitting, cancellation);
        cache.Save();
        return new LocatedModel(chosen.Path, chosen.Identity, reason, [.. fitting.Where(m => m.Path != chosen.Path).Select(m => m.Path)]);
    }

    /// <summary>The same search, looking in <paramref name="folder"/> first.</summary>
    public ModelLocator WithFolder(string folder) => new(Folders.Prepend(folder).Where(Directory.Exists), cache);

    /// <summary>Any model whose residual stream has this width, for vectors that are tried on another model on purpose; null when there is none.</summary>
    public LocatedModel? FindWidth(int modelWidth, CancellationToken cancellation = default)
    {
        var fitting = Models(cancellation).Where(m => m.Identity.DModel == modelWidth).ToArray();
        cache.Save();
        return fitting.Length == 0
            ? null
            : new LocatedModel(fitting[0].Path, fitting[0].Identity, $"not the model of the vector, but of its d_model {modelWidth}", [.. fitting.Skip(1).Select(m => m.Path)]);
    }

    /// <summary>Identity of a model file, from the cache where it is known.</summary>
    /// <exception cref="YapoException">It is no GGUF model.</exception>
    public ModelIdentity Identify(string path)
    {
        var identity = cache.Identity(path);
        cache.Save();
        return identity;
    }

    private ((string Path, ModelIdentity Identity) Model, string Reason) Choose(
        BaseModel wanted, (string Path, ModelIdentity Identity)[] fitting, CancellationToken cancellation)
    {
        if (fitting.Length == 1)
        {
            return (fitting[0], "the only file with its fingerprint");
        }

        // Hashing reads whole files: only those that can be the one are worth it.
        var sameQuantization = fitting.Where(m => m.Identity.Quantization == wanted.Quantization && wanted.Quantization.Length > 0).ToArray();
        if (wanted.FileSha256.Length > 0)
        {
            foreach (var model in sameQuantization.Length > 0 ? sameQuantization : fitting)
            {
                if (cache.Sha256(model.Path, cancellation) == wanted.FileSha256)
                {
                    return (model, "the exact file it was trained on");
                }
            }
        }

        if (sameQuantization.Length > 0)
        {
            return (sameQuantization[0], $"the quantization it was trained on, {wanted.Quantization}");
        }

        // Files of one model differ in size by their precision alone.
        var best = fitting.MaxBy(m => m.Identity.SizeBytes);
        return (best, $"the highest precision found, {best.Identity.Quantization}");
    }

    /// <summary>Every readable model below the folders.</summary>
    private List<(string Path, ModelIdentity Identity)> Models(CancellationToken cancellation)
    {
        var models = new List<(string Path, ModelIdentity Identity)>();
        foreach (var path in Folders.SelectMany(folder => Files(folder, "*.gguf").Order(StringComparer.Ordinal)).Distinct())
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                models.Add((path, cache.Identity(path)));
            }
            catch (YapoException)
            {
                // SAEs, control vectors, later parts of split models and broken downloads live beside models: not what is looked for.
            }
        }

        return models;
    }

    private YapoException NoMatch(BaseModel wanted, List<(string Path, ModelIdentity Identity)> models)
    {
        var name = wanted.Name.Length > 0 ? $"{wanted.Name} ({wanted.Architecture})" : wanted.Architecture;
        var found = models.Count == 0
            ? "no model at all"
            : string.Join("; ", models.Take(8).Select(m => $"{m.Path}: {m.Identity.Name} ({m.Identity.Architecture}), fingerprint {Short(m.Identity.Fingerprint)}")) + (models.Count > 8 ? $"; and {models.Count - 8} more" : "");
        return new YapoException(
            YapoErrorKind.Mismatch,
            $"no model fits: expected {name}, fingerprint {Short(wanted.Fingerprint)}; found under {List(Folders)}: {found}. Name the file with --model, or its folder with --model-dir or {DirectoryVariable}");
    }

    private static string Short(string fingerprint) => fingerprint.Length > 12 ? fingerprint[..12] : fingerprint;

    private static string List(IReadOnlyList<string> folders) => folders.Count == 0 ? "(no model folder exists)" : string.Join(", ", folders);

    private static IEnumerable<string> ModelsAbove(string start)
    {
        for (var folder = new DirectoryInfo(start); folder is not null; folder = folder.Parent)
        {
            yield return Path.Combine(folder.FullName, "models");
        }
    }

    private static IEnumerable<string> Files(string folder, string pattern) => Directory.EnumerateFiles(folder, pattern, new EnumerationOptions
    {
        RecurseSubdirectories = true,
        MaxRecursionDepth = DepthLimit,
        IgnoreInaccessible = true,
        MatchType = MatchType.Simple,
        MatchCasing = MatchCasing.PlatformDefault,
    }).Take(FileLimit);
}

using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sessions;

/// <summary>A loaded vector file with what the person asked for: FILE, strength and positions.</summary>
public sealed class SteeringSource
{
    private SteeringSource(VectorSpec spec, string path, SteeringFile file, IReadOnlyList<SaeFile> saes)
    {
        (Spec, Path, File, Saes) = (spec, path, file, saes);
        Settings = [.. file.Vectors.Select(SettingOf)];
    }

    /// <summary>As written.</summary>
    public VectorSpec Spec { get; }

    /// <summary>The file that was found for it.</summary>
    public string Path { get; }

    /// <summary>Its content.</summary>
    public SteeringFile File { get; }

    /// <summary>The whole SAEs that TopK vectors encode with, open; empty where no vector of the file needs one.</summary>
    public IReadOnlyList<SaeFile> Saes { get; }

    /// <summary>One setting for each vector of the file.</summary>
    public IReadOnlyList<SteeringSetting> Settings { get; }

    /// <summary>The setting of a vector of this file, or of one made from it (pruned, say): strength and positions of the spec, and the SAE where it needs one.</summary>
    /// <exception cref="YapoException">A TopK vector whose SAE was not found.</exception>
    public SteeringSetting SettingOf(SteeringVector vector)
    {
        ArgumentNullException.ThrowIfNull(vector);
        return SteeringSetting.Create(vector, Spec.Strength, Spec.Positions, NeedsSae(vector) ? Saes.FirstOrDefault(sae => SaeSearch.Matches(sae, vector.Sae!)) : null);
    }

    /// <summary>Loads the file of a spec; a bare name is also looked for under the model folders.</summary>
    /// <param name="spec">FILE, strength, positions.</param>
    /// <param name="locator">Where files are looked for.</param>
    /// <param name="saePath">
    /// The SAE file of TopK vectors, which need the whole encoder; null: the one with the SHA-256 that the vector names, looked for beside the
    /// vector, in the folder above it and in the model folders.
    /// </param>
    /// <exception cref="YapoException">Not found, malformed, or of a kind that cannot be steered with; a TopK vector without its SAE.</exception>
    public static SteeringSource Load(VectorSpec spec, ModelLocator locator, string? saePath = null)
    {
        ArgumentNullException.ThrowIfNull(spec);
        ArgumentNullException.ThrowIfNull(locator);
        var path = locator.ResolveVector(spec.Path);
        var file = SteeringFile.Load(path);
        var saes = new List<SaeFile>();
        try
        {
            foreach (var wanted in file.Vectors.Where(NeedsSae).Select(v => v.Sae!).DistinctBy(s => s.Sha256))
            {
                if (FindSae(wanted, path, locator, saePath) is { } sae)
                {
                    saes.Add(sae);
                }
            }

            return new SteeringSource(spec, path, file, saes);
        }
        catch
        {
            saes.ForEach(sae => sae.Dispose());
            throw;
        }
    }

    /// <summary>Finds the model that the vectors were made for: beside their file, then where <paramref name="locator"/> looks.</summary>
    /// <param name="locator">See <see cref="ModelLocator.Create"/>.</param>
    /// <param name="allowMismatch">Takes a model of the same width where there is no better one.</param>
    /// <param name="cancellation">Stops the reading of files.</param>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Mismatch"/>: expected, found, where it was looked for.</exception>
    public LocatedModel FindModel(ModelLocator locator, bool allowMismatch = false, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(locator);
        var everywhere = locator.WithFolder(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path))!);
        try
        {
            return everywhere.Find(File.Base, cancellation);
        }
        catch (YapoException e) when (e.Kind == YapoErrorKind.Mismatch)
        {
            return (allowMismatch ? everywhere.FindWidth(File.DModel, cancellation) : null) ?? throw new YapoException(e.Kind, $"{Path}: {e.Message}", e);
        }
    }

    /// <summary>Checks that the vectors were made for this model.</summary>
    /// <param name="modelPath">For messages.</param>
    /// <param name="model">From <see cref="FingerprintCache"/> or <see cref="ModelFingerprint"/>.</param>
    /// <param name="allowMismatch">Accepts another fingerprint as long as width and layers fit.</param>
    /// <returns>What the person should know although it is no error; null when there is nothing.</returns>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Mismatch"/> with expected and found.</exception>
    public string? RequireFits(string modelPath, ModelIdentity model, bool allowMismatch = false)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (File.DModel != model.DModel)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{Path} steers d_model {File.DModel}; {modelPath} has {model.DModel}. Is this the model of another size?");
        }

        if (File.Vectors.FirstOrDefault(v => v.Layer >= model.LayerCount) is { } beyond)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{Path}: vector {beyond.Name} is for layer {beyond.Layer}; {modelPath} has layers 0 … {model.LayerCount - 1}");
        }

        if (File.Base.Fingerprint.Length == 0)
        {
            return $"{Path} does not say which model it was made for: only d_model {File.DModel} and the layers were checked";
        }

        if (File.Base.Fingerprint == model.Fingerprint)
        {
            return null;
        }

        var difference = $"{Path} was made for {Describe(File.Base.Name, File.Base.Architecture, File.Base.Fingerprint)}; {modelPath} is {Describe(model.Name, model.Architecture, model.Fingerprint)}";
        return allowMismatch
            ? $"{difference}; attached all the same (--allow-mismatch)"
            : throw new YapoException(YapoErrorKind.Mismatch, $"{difference}. Use that model, or --allow-mismatch to steer this one anyway");
    }

    private static bool NeedsSae(SteeringVector vector) => vector.Sae?.Activation == SaeActivation.TopK;

    private static SaeFile? FindSae(SaeReference wanted, string path, ModelLocator locator, string? saePath)
    {
        if (saePath is not null)
        {
            return SaeSearch.OpenFor(wanted, saePath, path);
        }

        return SaeSearch.Find(wanted, [.. SaeSearch.FoldersOf(path), .. locator.Folders]);
    }

    private static string Describe(string name, string architecture, string fingerprint) =>
        $"{(name.Length > 0 ? name : "a model without name")} ({architecture}, fingerprint {(fingerprint.Length > 12 ? fingerprint[..12] : fingerprint)})";
}

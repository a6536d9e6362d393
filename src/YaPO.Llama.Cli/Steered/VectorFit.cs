using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Steered;

/// <summary>Whether a vector belongs to a model.</summary>
internal static class VectorFit
{
    /// <summary>
    /// Checks fingerprint, width and layers. Returns what a person should know although it is no error; null when there is nothing.
    /// </summary>
    /// <exception cref="YapoException">Another model and not <paramref name="allowMismatch"/>, another d_model, or a layer the model does not
    /// have (<see cref="YapoErrorKind.Mismatch"/>).</exception>
    public static string? Check(LoadedVector vector, string modelPath, ModelIdentity model, bool allowMismatch)
    {
        var file = vector.File;
        if (file.DModel != model.DModel)
        {
            throw Mismatch($"{vector.Path} expects d_model {file.DModel}; the model {modelPath} has {model.DModel}. Is it for another size of the model?");
        }

        foreach (var setting in vector.Settings)
        {
            if (setting.Vector.Layer >= model.LayerCount)
            {
                throw Mismatch($"{vector.Path} steers layer {setting.Vector.Layer}; the model {modelPath} has layers 0 to {model.LayerCount - 1}");
            }
        }

        if (file.Base.Fingerprint.Length == 0)
        {
            return $"{vector.Path} does not say which model it was made for; only d_model {file.DModel} and the layer were checked";
        }

        if (file.Base.Fingerprint == model.Fingerprint)
        {
            return null;
        }

        var differ = $"{vector.Path} was made for {Name(file.Base.Architecture, file.Base.Name)} with fingerprint {file.Base.Fingerprint}; "
            + $"{modelPath} is {Name(model.Architecture, model.Name)} with fingerprint {model.Fingerprint}";
        return allowMismatch ? $"{differ}; attached because of --allow-mismatch" : throw Mismatch($"{differ}. Use the vector's own model, or --allow-mismatch to try it anyway");
    }

    private static string Name(string architecture, string name) =>
        (architecture.Length, name.Length) switch
        {
            (0, 0) => "a model",
            (0, _) => $"'{name}'",
            (_, 0) => $"a {architecture} model",
            _ => $"'{name}' ({architecture})",
        };

    private static YapoException Mismatch(string message) => new(YapoErrorKind.Mismatch, message);
}

using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Commands;

/// <summary>Whether something made for a residual stream fits a model.</summary>
internal static class BaseModelCheck
{
    /// <summary>Reads the model's identity and checks width and layer; <paramref name="what"/> names the thing in the message.</summary>
    /// <exception cref="YapoException">The file is no model, or d_model or layer do not fit (<see cref="YapoErrorKind.Mismatch"/>).</exception>
    public static ModelIdentity Require(string path, int dModel, int layer, string what)
    {
        var model = ModelFingerprint.Compute(path);
        if (model.DModel != dModel)
        {
            throw new YapoException(
                YapoErrorKind.Mismatch,
                $"{what} expects d_model {dModel}; the model {path} has {model.DModel}. Is it for another size of the model?");
        }

        return layer >= 0 && layer < model.LayerCount
            ? model
            : throw new YapoException(YapoErrorKind.Mismatch, $"{what} is for layer {layer}; the model {path} has layers 0 to {model.LayerCount - 1}");
    }
}

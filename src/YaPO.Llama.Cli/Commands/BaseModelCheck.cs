using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;

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

    /// <summary>
    /// As above for an SAE, and warns where it names another model of the same shape: normal for the SAE of a pre-trained model on its instruction-tuned one, wrong otherwise.
    /// </summary>
    public static void Require(string path, SaeFile sae, CommandConsole console)
    {
        var model = Require(path, sae.Info.DModel, sae.Info.Layer, sae.Path);
        if (sae.Info.Base.Fingerprint is { Length: > 0 } fingerprint && fingerprint != model.Fingerprint)
        {
            console.Warn($"{sae.Path} was trained on {(sae.Info.Base.Name.Length > 0 ? sae.Info.Base.Name : "another model")} (fingerprint {fingerprint[..Math.Min(12, fingerprint.Length)]}); {path} is {model.Name} ({model.Fingerprint[..12]})");
        }
    }
}

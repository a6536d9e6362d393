using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Sessions;

/// <summary>SAE files of random weights, whose features fire often on a <see cref="RandomModel"/>.</summary>
internal static class RandomSae
{
    /// <summary>Writes it and returns the path; <paramref name="topK"/> 0 makes a JumpReLU SAE.</summary>
    public static string Save(string path, int width, int features, int layer, int topK = 0, int seed = 3, BaseModel? model = null, IReadOnlyList<string>? labels = null)
    {
        var random = new Random(seed);
        float[] Values(int n, float scale) => [.. Enumerable.Range(0, n).Select(_ => scale * ((2 * random.NextSingle()) - 1))];
        var info = new SaeInfo
        {
            Layer = layer,
            DModel = width,
            Width = features,
            Activation = topK > 0 ? SaeActivation.TopK : SaeActivation.JumpRelu,
            TopK = topK,
            Name = "random",
            Base = model ?? BaseModel.Unknown,
        };
        var thresholds = topK > 0 ? new float[features] : Array.ConvertAll(Values(features, 0.2f), Math.Abs);
        SaeWriter.Save(path, info, new SaeWeights(Values(features * width, 0.3f), Values(features, 0.1f), thresholds, Values(features * width, 0.5f), Values(width, 0.1f)), labels: labels);
        return path;
    }
}

using YaPO.Llama.Gguf;
using YaPO.Llama.Sae;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Steering;

/// <summary>
/// Imports vectors of others: arrays of NumPy, PyTorch or safetensors, 1-D [F] in the feature space of an SAE, or [D] dense; the file says neither which SAE nor which
/// layer, so the caller does.
/// </summary>
public static class VectorImport
{
    /// <summary>Reads a 1-D array (or one with a single row) from <c>.npy</c>, <c>.npz</c>, <c>.safetensors</c> or PyTorch's <c>.pt</c>.</summary>
    /// <param name="path">The file.</param>
    /// <param name="member">Which array, of several; null: the only one.</param>
    /// <exception cref="YapoException">Missing, malformed, not 1-D, or several arrays and no name.</exception>
    public static float[] ReadArray(string path, string? member = null)
    {
        using var source = TensorFile.Open(path);
        var name = member ?? source.OnlyName();
        CheckVector(source.Info(name), source.Describe(name));
        return source.Read(name);
    }

    /// <summary>A sparse vector from an array [F].</summary>
    public static SteeringVector Sparse(string path, SaeFile sae, string name, GgmlType decType = GgmlType.F32, string? member = null) =>
        VectorBuilder.FromWidth(sae, ReadArray(path, member), name, decType);

    /// <summary>A dense vector from an array [D].</summary>
    public static SteeringVector Dense(string path, int layer, string name, string? member = null) =>
        VectorBuilder.Dense(ReadArray(path, member), layer, name);

    private static void CheckVector(TensorInfo info, string what)
    {
        if (info.Shape.Count(n => n != 1) > 1 || info.Shape.Count == 0 || info.Elements is < 1 or > 1 << 26)
        {
            throw new YapoException(YapoErrorKind.Format, $"{what} has shape {info.ShapeText}, expected one dimension: (d_model,) or (width,)");
        }
    }
}

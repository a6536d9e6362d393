using YaPO.Llama.Gguf;
using YaPO.Llama.Numpy;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Steering;

/// <summary>
/// Imports vectors of others. NumPy arrays: 1-D [F] in the feature space of an SAE, or [D] dense; the file says neither which SAE nor which
/// layer, so the caller does.
/// </summary>
public static class VectorImport
{
    /// <summary>Reads a 1-D array (or one with a single row) from <c>.npy</c> or <c>.npz</c>.</summary>
    /// <param name="path">The file.</param>
    /// <param name="member">Which array of an <c>.npz</c>; null: the only one.</param>
    /// <exception cref="YapoException">Missing, malformed, not 1-D, or several arrays and no name.</exception>
    public static float[] ReadArray(string path, string? member = null)
    {
        if (path.EndsWith(".npz", StringComparison.OrdinalIgnoreCase))
        {
            using var npz = NpzReader.Open(path);
            var name = member ?? (npz.Names.Count == 1 ? npz.Names.First() : throw new YapoException(
                YapoErrorKind.InvalidArgument, $"{path} holds {npz.Names.Count} arrays ({string.Join(", ", npz.Names)}); say which one"));
            CheckVector(npz.Header(name), $"{path}: array '{name}'");
            using var array = npz.OpenArray(name);
            return array.ReadAll();
        }

        using var single = NpyReader.Open(path);
        CheckVector(single.Header, path);
        return single.ReadAll();
    }

    /// <summary>A sparse vector from an array [F].</summary>
    public static SteeringVector Sparse(string path, SaeFile sae, string name, GgmlType decType = GgmlType.F32, string? member = null) =>
        VectorBuilder.FromWidth(sae, ReadArray(path, member), name, decType);

    /// <summary>A dense vector from an array [D].</summary>
    public static SteeringVector Dense(string path, int layer, string name, string? member = null) =>
        VectorBuilder.Dense(ReadArray(path, member), layer, name);

    private static void CheckVector(NpyHeader header, string what)
    {
        if (header.Shape.Count(n => n != 1) > 1 || header.Shape.Count == 0 || header.Elements is < 1 or > 1 << 26)
        {
            throw new YapoException(YapoErrorKind.Format, $"{what} has shape {header.ShapeText}, expected one dimension: (d_model,) or (width,)");
        }
    }
}

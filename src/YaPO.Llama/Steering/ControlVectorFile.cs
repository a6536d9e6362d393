using System.Globalization;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;

namespace YaPO.Llama.Steering;

/// <summary>
/// Control vectors of llama.cpp and repeng: a GGUF of architecture <c>controlvector</c> with 1-D F32 tensors <c>direction.L</c>,
/// L ≥ 1, each added to the residual stream after block L (zero-based), which is where our dense vectors act too, so L is kept.
/// Files made by llama.cpp's cvector-generator were measured one block earlier than they are applied; we apply them as llama.cpp does: after block L, and at
/// every position, BOS included, unless other positions are asked for.
/// </summary>
public static class ControlVectorFile
{
    /// <summary><c>general.architecture</c> of these files.</summary>
    public const string Architecture = "controlvector";

    /// <summary>Reads the file as dense vectors, one per layer, ascending.</summary>
    /// <exception cref="YapoException">It is no control vector, or a tensor is out of place.</exception>
    public static SteeringFile Load(string path)
    {
        using var file = GgufFile.Open(path);
        return Read(file);
    }

    internal static SteeringFile Read(GgufFile file)
    {
        if (file.Architecture != Architecture)
        {
            throw Bad($"general.architecture is '{file.Architecture}', expected '{Architecture}'");
        }

        var vectors = new SortedDictionary<int, SteeringVector>();
        foreach (var tensor in file.Tensors)
        {
            if (!tensor.Name.StartsWith("direction.", StringComparison.Ordinal))
            {
                continue;
            }

            if (!int.TryParse(tensor.Name.AsSpan("direction.".Length), NumberStyles.None, CultureInfo.InvariantCulture, out var layer) || layer < 1)
            {
                throw Bad($"tensor '{tensor.Name}' must be named direction.L with a layer L >= 1");
            }

            if (tensor.Type != GgmlType.F32 || tensor.Shape.Count != 1)
            {
                throw Bad($"tensor '{tensor.Name}' has type {tensor.Type} and shape {tensor.ShapeText}, expected F32 [d_model]");
            }

            var vector = new SteeringVector { Name = tensor.Name, Kind = VectorKind.Dense, Layer = layer, Value = file.ReadFloats(tensor), Positions = SteeringPositions.AllAndBos };
            if (!vectors.TryAdd(layer, vector))
            {
                throw Bad($"layer {layer} appears twice");
            }
        }

        if (vectors.Count == 0)
        {
            throw Bad("it holds no tensor direction.L");
        }

        var result = new SteeringFile
        {
            Name = file.Metadata.GetString("general.name") ?? "",
            Base = new BaseModel { Architecture = file.Metadata.GetString("controlvector.model_hint") ?? "" },
            DModel = vectors.Values.First().Value.Length,
            Vectors = [.. vectors.Values],
        };
        result.Validate(file.Path);
        return result;

        YapoException Bad(string message) => new(YapoErrorKind.Format, $"{file.Path}: {message}");
    }
}

namespace YaPO.Llama.Tensors;

/// <summary>What a file says about one of its tensors.</summary>
/// <param name="Name">Its name; empty where the file holds a single tensor without one.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Dimensions, slowest index first unless <paramref name="FortranOrder"/>; none for a scalar.</param>
/// <param name="FortranOrder">True: the first index varies fastest in the file.</param>
public sealed record TensorInfo(string Name, TensorType Type, IReadOnlyList<long> Shape, bool FortranOrder = false)
{
    private const int MaxDimensions = 32;
    private const long MaxElements = 1L << 48;

    /// <summary>Number of elements, at most 2^48; 1 for a scalar.</summary>
    public long Elements => Shape.Aggregate(1L, (a, n) => a * n);

    /// <summary>Bytes of the data.</summary>
    public long DataBytes => Elements * Type.ItemBytes();

    /// <summary>Shape as NumPy and PyTorch print it: <c>(2304, 16384)</c>.</summary>
    public string ShapeText => Text(Shape);

    /// <summary>Refuses shapes whose size cannot be computed safely.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: a negative dimension, more than 32, or more than 2^48 elements.</exception>
    internal static void CheckShape(IReadOnlyList<long> shape, string what)
    {
        // Zeros are left out of the product, so that a later Elements cannot overflow on the way to 0.
        long elements = 1;
        foreach (var n in shape)
        {
            if (n < 0 || (n > 0 && elements > MaxElements / n) || shape.Count > MaxDimensions)
            {
                throw new YapoException(YapoErrorKind.Format, $"{what}: its shape {Text(shape)} is negative or too large");
            }

            elements *= Math.Max(1, n);
        }
    }

    private static string Text(IReadOnlyList<long> shape) => $"({string.Join(", ", shape)}{(shape.Count == 1 ? "," : "")})";
}

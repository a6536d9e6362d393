namespace YaPO.Llama.Gguf;

/// <summary>Where a tensor lies in a GGUF file.</summary>
/// <param name="Name">Name, unique in the file.</param>
/// <param name="Type">Storage type.</param>
/// <param name="Shape">ggml order: Shape[0] is the row length, the other dimensions count rows.</param>
/// <param name="Offset">Offset of the first byte from the start of the file.</param>
/// <param name="Bytes">Size in bytes.</param>
public sealed record GgufTensor(string Name, GgmlType Type, IReadOnlyList<long> Shape, long Offset, long Bytes)
{
    /// <summary>Number of elements.</summary>
    public long Elements => Shape.Aggregate(1L, (a, n) => a * n);

    /// <summary>Elements per row.</summary>
    public long RowLength => Shape[0];

    /// <summary>Number of rows.</summary>
    public long Rows => Elements / Shape[0];

    /// <summary>Bytes of one row.</summary>
    public long RowBytes => Bytes / Rows;

    /// <summary>Shape as messages print it: <c>[2304, 16]</c>.</summary>
    public string ShapeText => $"[{string.Join(", ", Shape)}]";
}

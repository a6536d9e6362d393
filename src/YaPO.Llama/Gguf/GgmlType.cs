namespace YaPO.Llama.Gguf;

/// <summary>Element types of ggml tensors, numbered and named as in ggml.h of llama.cpp v0.5.0.</summary>
public enum GgmlType
{
#pragma warning disable CS1591 // a name says all there is to say about a type
    F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q8_1 = 9,
    Q2_K = 10, Q3_K = 11, Q4_K = 12, Q5_K = 13, Q6_K = 14, Q8_K = 15,
    IQ2_XXS = 16, IQ2_XS = 17, IQ3_XXS = 18, IQ1_S = 19, IQ4_NL = 20, IQ3_S = 21, IQ2_S = 22, IQ4_XS = 23,
    I8 = 24, I16 = 25, I32 = 26, I64 = 27, F64 = 28, IQ1_M = 29, BF16 = 30,
    TQ1_0 = 34, TQ2_0 = 35, MXFP4 = 39, NVFP4 = 40, Q1_0 = 41, Q2_0 = 42,
#pragma warning restore CS1591
}

/// <summary>Block geometry of the types: a row of n elements takes n / BlockElements · BlockBytes bytes.</summary>
public static class GgmlTypes
{
    /// <summary>Elements and bytes of one block; (0, 0) for a number that names no type.</summary>
    public static (int Elements, int Bytes) Block(GgmlType type) => type switch
    {
        GgmlType.F32 or GgmlType.I32 => (1, 4),
        GgmlType.F16 or GgmlType.BF16 or GgmlType.I16 => (1, 2),
        GgmlType.I8 => (1, 1),
        GgmlType.I64 or GgmlType.F64 => (1, 8),
        GgmlType.Q4_0 or GgmlType.IQ4_NL => (32, 18),
        GgmlType.Q4_1 => (32, 20),
        GgmlType.Q5_0 => (32, 22),
        GgmlType.Q5_1 => (32, 24),
        GgmlType.Q8_0 => (32, 34),
        GgmlType.Q8_1 => (32, 36),
        GgmlType.Q2_K => (256, 84),
        GgmlType.Q3_K => (256, 110),
        GgmlType.Q4_K => (256, 144),
        GgmlType.Q5_K => (256, 176),
        GgmlType.Q6_K => (256, 210),
        GgmlType.Q8_K => (256, 292),
        GgmlType.IQ2_XXS => (256, 66),
        GgmlType.IQ2_XS => (256, 74),
        GgmlType.IQ2_S => (256, 82),
        GgmlType.IQ3_XXS => (256, 98),
        GgmlType.IQ3_S => (256, 110),
        GgmlType.IQ1_S => (256, 50),
        GgmlType.IQ1_M => (256, 56),
        GgmlType.IQ4_XS => (256, 136),
        GgmlType.TQ1_0 => (256, 54),
        GgmlType.TQ2_0 => (256, 66),
        GgmlType.MXFP4 => (32, 17),
        GgmlType.NVFP4 => (64, 36),
        GgmlType.Q1_0 => (128, 18),
        GgmlType.Q2_0 => (64, 18),
        _ => (0, 0),
    };

    /// <summary>
    /// Bytes of a tensor with this shape (ggml order, row length first). All products are overflow-checked.
    /// </summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: unknown type, no or more than four dimensions, a dimension
    /// below 1, a row that is no whole number of blocks, or a size beyond 2^62.</exception>
    public static long Bytes(GgmlType type, ReadOnlySpan<long> shape)
    {
        var (blockElements, blockBytes) = Block(type);
        if (blockBytes == 0)
        {
            throw new YapoException(YapoErrorKind.Format, $"ggml type {(int)type} is unknown");
        }

        if (shape.Length is < 1 or > 4)
        {
            throw new YapoException(YapoErrorKind.Format, $"{shape.Length} dimensions, expected 1 to 4");
        }

        long elements = 1;
        foreach (var n in shape)
        {
            if (n < 1 || n > (1L << 48) / elements)
            {
                throw new YapoException(YapoErrorKind.Format, $"shape [{string.Join(", ", shape.ToArray())}] is empty, negative or too large");
            }

            elements *= n;
        }

        if (shape[0] % blockElements != 0)
        {
            throw new YapoException(YapoErrorKind.Format, $"rows of {shape[0]} elements are not a multiple of the {blockElements} that a block of {type} holds");
        }

        return elements / blockElements * blockBytes;
    }
}

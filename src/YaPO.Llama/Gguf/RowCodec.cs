using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace YaPO.Llama.Gguf;

/// <summary>
/// Converts rows between float and the storage types F32, F16, BF16 and Q8_0, bit for bit as ggml's reference code does:
/// F16 and BF16 round to nearest even; Q8_0 holds blocks of 32 as d = max|x| / 127 (F16) and round-half-away(x / d).
/// </summary>
public static class RowCodec
{
    private const int Q8Block = 32;
    private const int Q8Bytes = 34;

    /// <summary>Whether <see cref="Decode"/> and <see cref="Encode"/> know the type.</summary>
    public static bool Supports(GgmlType type) => type is GgmlType.F32 or GgmlType.F16 or GgmlType.BF16 or GgmlType.Q8_0;

    /// <summary>Decodes <paramref name="values"/>.Length elements.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Unsupported"/> for other types.</exception>
    public static void Decode(GgmlType type, ReadOnlySpan<byte> bytes, Span<float> values)
    {
        CheckLength(type, bytes.Length, values.Length);
        switch (type)
        {
            case GgmlType.F32:
                MemoryMarshal.Cast<byte, float>(bytes).CopyTo(values);
                break;
            case GgmlType.F16:
                var halves = MemoryMarshal.Cast<byte, Half>(bytes);
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = (float)halves[i];
                }

                break;
            case GgmlType.BF16:
                var words = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = BitConverter.UInt32BitsToSingle((uint)words[i] << 16);
                }

                break;
            default:
                for (var b = 0; b < values.Length / Q8Block; b++)
                {
                    var block = bytes.Slice(b * Q8Bytes, Q8Bytes);
                    var d = (float)BinaryPrimitives.ReadHalfLittleEndian(block);
                    var q = MemoryMarshal.Cast<byte, sbyte>(block[2..]);
                    var row = values.Slice(b * Q8Block, Q8Block);
                    for (var i = 0; i < Q8Block; i++)
                    {
                        row[i] = q[i] * d;
                    }
                }

                break;
        }
    }

    /// <summary>Encodes <paramref name="values"/>; for Q8_0 their number must be a multiple of 32.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Unsupported"/> for other types.</exception>
    public static void Encode(GgmlType type, ReadOnlySpan<float> values, Span<byte> bytes)
    {
        CheckLength(type, bytes.Length, values.Length);
        switch (type)
        {
            case GgmlType.F32:
                MemoryMarshal.AsBytes(values).CopyTo(bytes);
                break;
            case GgmlType.F16:
                var halves = MemoryMarshal.Cast<byte, Half>(bytes);
                for (var i = 0; i < values.Length; i++)
                {
                    halves[i] = (Half)values[i];
                }

                break;
            case GgmlType.BF16:
                var words = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (var i = 0; i < values.Length; i++)
                {
                    words[i] = ToBFloat16(values[i]);
                }

                break;
            default:
                for (var b = 0; b < values.Length / Q8Block; b++)
                {
                    EncodeQ8Block(values.Slice(b * Q8Block, Q8Block), bytes.Slice(b * Q8Bytes, Q8Bytes));
                }

                break;
        }
    }

    private static void EncodeQ8Block(ReadOnlySpan<float> x, Span<byte> block)
    {
        var largest = 0f;
        foreach (var v in x)
        {
            largest = Math.Max(largest, Math.Abs(v));
        }

        var d = largest / 127;
        var inverse = d != 0 ? 1 / d : 0;
        BinaryPrimitives.WriteHalfLittleEndian(block, (Half)d);
        for (var i = 0; i < Q8Block; i++)
        {
            block[2 + i] = (byte)(sbyte)MathF.Round(x[i] * inverse, MidpointRounding.AwayFromZero);
        }
    }

    private static ushort ToBFloat16(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value))
        {
            return (ushort)((bits >> 16) | 64); // keep it a NaN: rounding could turn it into infinity
        }

        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    private static void CheckLength(GgmlType type, int bytes, int values)
    {
        if (!Supports(type))
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"tensor type {type} cannot be converted to or from float here; F32, F16, BF16 and Q8_0 can");
        }

        var (elements, size) = GgmlTypes.Block(type);
        if (values % elements != 0 || (long)values / elements * size != bytes)
        {
            throw new ArgumentException($"{values} values of {type} do not take {bytes} bytes");
        }
    }
}

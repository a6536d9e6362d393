using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using YaPO.Llama.Gguf;

namespace YaPO.Llama.Rehearsal.Weights;

/// <summary>
/// Random weights in storage form: blocks get random codes and scales whose values have mean 0 and a wanted standard deviation. A function of seed and
/// tensor name alone.
/// </summary>
public sealed class RandomRows
{
    private const int Part = 1 << 20;
    private ulong _state;

    /// <summary>A stream of its own for each tensor.</summary>
    public RandomRows(ulong seed, string name) => _state = BinaryPrimitives.ReadUInt64LittleEndian(SHA256.HashData(Encoding.UTF8.GetBytes($"{seed}/{name}"))) | 1;

    /// <summary>Writes <paramref name="elements"/> values of standard deviation <paramref name="sigma"/> as <paramref name="type"/>.</summary>
    public void Write(Stream stream, GgmlType type, long elements, double sigma, CancellationToken cancellation = default)
    {
        var (blockElements, blockBytes) = GgmlTypes.Block(type);
        var blocks = elements / blockElements;
        var perPart = Math.Max(1, Part / blockBytes);
        var buffer = new byte[perPart * blockBytes];
        while (blocks > 0)
        {
            cancellation.ThrowIfCancellationRequested();
            var n = (int)Math.Min(perPart, blocks);
            var part = buffer.AsSpan(0, n * blockBytes);
            Bytes(part);
            Shape(part, type, blockBytes, sigma);
            stream.Write(part);
            blocks -= n;
        }
    }

    /// <summary>Values of standard deviation <paramref name="sigma"/>, uniform.</summary>
    public void Fill(Span<float> values, double sigma)
    {
        Bytes(MemoryMarshal.AsBytes(values));
        Uniform(MemoryMarshal.AsBytes(values), sigma);
    }

    private void Bytes(Span<byte> bytes)
    {
        var words = MemoryMarshal.Cast<byte, ulong>(bytes);
        for (var i = 0; i < words.Length; i++)
        {
            words[i] = Next();
        }

        for (var i = words.Length * 8; i < bytes.Length; i++)
        {
            bytes[i] = (byte)Next();
        }
    }

    private ulong Next()
    {
        _state ^= _state << 13;
        _state ^= _state >> 7;
        _state ^= _state << 17;
        return _state * 0x2545F4914F6CDD1DUL;
    }

    // Turns random bytes into valid blocks. Uniform codes of n values have a standard deviation of about n / sqrt(12).
    private static void Shape(Span<byte> part, GgmlType type, int blockBytes, double sigma)
    {
        switch (type)
        {
            case GgmlType.F32:
                Uniform(part, sigma);
                return;
            case GgmlType.F16:
                var halves = MemoryMarshal.Cast<byte, ushort>(part);
                for (var i = 0; i < halves.Length; i++)
                {
                    halves[i] = BitConverter.HalfToUInt16Bits((Half)(((halves[i] / 65535.0) - 0.5) * Math.Sqrt(12) * sigma));
                }

                return;
        }

        for (var at = 0; at < part.Length; at += blockBytes)
        {
            var block = part.Slice(at, blockBytes);
            switch (type)
            {
                case GgmlType.Q8_0: // d, 32 x int8
                    Half(block, sigma / 74.0);
                    break;
                case GgmlType.Q5_0: // d, high bits, 32 x 4 bits: d (q - 16)
                    Half(block, sigma / 9.2);
                    break;
                case GgmlType.Q6_K: // codes, 16 signed scales, d: d s (q - 32); scales of both signs make the mean 0
                    for (var i = 192; i < 208; i++)
                    {
                        block[i] = (byte)(sbyte)((4 + (block[i] & 7)) * ((block[i] & 8) == 0 ? 1 : -1));
                    }

                    Half(block[208..], sigma / (18.5 * 7.8));
                    break;
                case GgmlType.Q4_K: // d, dmin, 8 scales and 8 minima of 6 bits, codes: d s q - dmin m, here with m = s and dmin = 7.5 d
                    for (var j = 0; j < 4; j++)
                    {
                        var (low, high) = (16 + (block[4 + j] & 31), 16 + (block[8 + j] & 31));
                        block[4 + j] = block[8 + j] = (byte)(low | (high >> 4 << 6));
                        block[12 + j] = (byte)((high & 15) * 17);
                    }

                    var d = sigma / (4.61 * 32.8);
                    Half(block, d);
                    Half(block[2..], 7.5 * d);
                    break;
                default:
                    throw new YapoException(YapoErrorKind.Unsupported, $"random weights of type {type} are not known here");
            }
        }
    }

    private static void Uniform(Span<byte> bytes, double sigma)
    {
        var words = MemoryMarshal.Cast<byte, uint>(bytes);
        var values = MemoryMarshal.Cast<byte, float>(bytes);
        var scale = (float)(Math.Sqrt(12) * sigma);
        for (var i = 0; i < words.Length; i++)
        {
            values[i] = ((words[i] * (1f / 4294967296f)) - 0.5f) * scale;
        }
    }

    private static void Half(Span<byte> at, double value) => BinaryPrimitives.WriteHalfLittleEndian(at, (Half)value);
}

using System.Buffers.Binary;

namespace YaPO.Llama.Zip;

/// <summary>CRC-32 as ZIP uses it (reflected polynomial 0xEDB88320), eight bytes at a time.</summary>
internal static class Crc32
{
    public const uint Start = 0xFFFFFFFF;

    private static readonly uint[][] Tables = Build();

    public static uint Append(uint crc, ReadOnlySpan<byte> bytes)
    {
        var t = Tables;
        for (; bytes.Length >= 8; bytes = bytes[8..])
        {
            var low = BinaryPrimitives.ReadUInt32LittleEndian(bytes) ^ crc;
            var high = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
            crc = t[7][low & 0xFF] ^ t[6][(low >> 8) & 0xFF] ^ t[5][(low >> 16) & 0xFF] ^ t[4][low >> 24]
                ^ t[3][high & 0xFF] ^ t[2][(high >> 8) & 0xFF] ^ t[1][(high >> 16) & 0xFF] ^ t[0][high >> 24];
        }

        foreach (var b in bytes)
        {
            crc = t[0][(crc ^ b) & 0xFF] ^ (crc >> 8);
        }

        return crc;
    }

    public static uint Finish(uint crc) => ~crc;

    private static uint[][] Build()
    {
        var tables = new uint[8][];
        for (var k = 0; k < 8; k++)
        {
            tables[k] = new uint[256];
            for (uint i = 0; i < 256; i++)
            {
                var c = k == 0 ? i : tables[k - 1][i];
                for (var bit = 0; bit < 8; bit++)
                {
                    c = (c >> 1) ^ ((c & 1) * 0xEDB88320);
                }

                tables[k][i] = c;
            }
        }

        return tables;
    }
}

using System.Buffers.Binary;
using System.Text;

namespace YaPO.Llama.Zip;

/// <summary>One member of a ZIP file, as its central directory describes it.</summary>
/// <param name="Name">Name.</param>
/// <param name="Method">0 stored, 8 deflate.</param>
/// <param name="Crc32">CRC-32 of the uncompressed bytes.</param>
/// <param name="CompressedBytes">Bytes in the file.</param>
/// <param name="Bytes">Bytes after decompression.</param>
/// <param name="HeaderOffset">Where the member's local header starts.</param>
internal sealed record ZipMember(string Name, int Method, uint Crc32, long CompressedBytes, long Bytes, long HeaderOffset);

/// <summary>
/// Finds the members of a ZIP file, ZIP64 included. Our own, because the framework's reader hides where a stored member's bytes lie, and reading those
/// in place is what keeps a 20 GB SAE out of memory and off a second disk.
/// </summary>
internal static class ZipDirectory
{
    private const int MaxMembers = 4096;
    private const int MaxDirectoryBytes = 1 << 24;

    public static List<ZipMember> Read(FileStream stream, string path)
    {
        var (offset, bytes, count) = Locate(stream, path);
        if (count > MaxMembers || bytes > MaxDirectoryBytes || offset < 0 || bytes < 0 || offset > stream.Length - bytes)
        {
            throw Bad(path, $"its directory of {count} members and {bytes} bytes at byte {offset} cannot be right");
        }

        var directory = new byte[bytes];
        stream.Position = offset;
        Exactly(stream, directory, path);
        var members = new List<ZipMember>();
        var rest = directory.AsSpan();
        for (long i = 0; i < count; i++)
        {
            if (rest.Length < 46 || BinaryPrimitives.ReadUInt32LittleEndian(rest) != 0x02014b50)
            {
                throw Bad(path, $"entry {i} of its directory is damaged");
            }

            int name = U16(rest, 28), extra = U16(rest, 30), comment = U16(rest, 32);
            if (rest.Length < 46 + name + extra + comment)
            {
                throw Bad(path, $"entry {i} of its directory is truncated");
            }

            members.Add(Member(rest, name, extra, stream.Length, path));
            rest = rest[(46 + name + extra + comment)..];
        }

        return members;
    }

    /// <summary>The offset of a member's first byte: its local header has lengths of its own.</summary>
    public static long DataOffset(FileStream stream, ZipMember member, string path)
    {
        Span<byte> local = stackalloc byte[30];
        stream.Position = member.HeaderOffset;
        Exactly(stream, local, path);
        var offset = member.HeaderOffset + 30 + U16(local, 26) + U16(local, 28);
        if (BinaryPrimitives.ReadUInt32LittleEndian(local) != 0x04034b50 || offset > stream.Length - member.CompressedBytes)
        {
            throw Bad(path, $"member '{member.Name}' is damaged or truncated");
        }

        return offset;
    }

    private static ZipMember Member(ReadOnlySpan<byte> entry, int nameBytes, int extraBytes, long fileLength, string path)
    {
        var name = Encoding.UTF8.GetString(entry.Slice(46, nameBytes));
        var flags = U16(entry, 8);
        var method = U16(entry, 10);
        long compressed = U32(entry, 20), bytes = U32(entry, 24), offset = U32(entry, 42);
        var extra = entry.Slice(46 + nameBytes, extraBytes);
        while (extra.Length >= 4)
        {
            int id = U16(extra, 0), size = U16(extra, 2);
            if (size > extra.Length - 4)
            {
                break;
            }

            if (id == 1)
            {
                // ZIP64: one 64-bit value for each 32-bit one that is all ones, in this order.
                var values = extra.Slice(4, size);
                Take64(ref bytes, ref values);
                Take64(ref compressed, ref values);
                Take64(ref offset, ref values);
            }

            extra = extra[(4 + size)..];
        }

        if ((flags & 1) != 0 || method is not (0 or 8))
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{path}: member '{name}' is encrypted or uses compression method {method}; expected stored or deflate");
        }

        // Deflate cannot shrink data to less than 1/1032, so a larger claim is a bomb and not an array.
        if (compressed < 0 || bytes < 0 || offset < 0 || offset > fileLength - 30 || compressed > fileLength - offset - 30
            || (method == 0 ? compressed != bytes : bytes / 1040 > compressed))
        {
            throw Bad(path, $"member '{name}' claims {compressed:N0} bytes at byte {offset:N0} that become {bytes:N0}; the file has {fileLength:N0}");
        }

        return new ZipMember(name, method, (uint)U32(entry, 16), compressed, bytes, offset);
    }

    private static (long Offset, long Bytes, long Count) Locate(FileStream stream, string path)
    {
        var tail = new byte[Math.Min(stream.Length, 65535 + 22)];
        stream.Position = stream.Length - tail.Length;
        Exactly(stream, tail, path);
        var at = tail.AsSpan().LastIndexOf("PK\x05\x06"u8);
        if (at < 0 || tail.Length - at < 22)
        {
            throw Bad(path, "it is no ZIP file, or truncated: its end-of-directory record is missing");
        }

        var end = tail.AsSpan(at);
        long count = U16(end, 10), bytes = U32(end, 12), offset = U32(end, 16);
        if (count != 0xFFFF && bytes != 0xFFFFFFFF && offset != 0xFFFFFFFF)
        {
            return (offset, bytes, count);
        }

        if (at < 20 || BinaryPrimitives.ReadUInt32LittleEndian(tail.AsSpan(at - 20)) != 0x07064b50)
        {
            return (offset, bytes, count); // a value that happens to be all ones
        }

        var record = BinaryPrimitives.ReadInt64LittleEndian(tail.AsSpan(at - 20 + 8));
        var zip64 = new byte[56];
        if (record < 0 || record > stream.Length - zip64.Length)
        {
            throw Bad(path, "its ZIP64 directory record lies outside the file");
        }

        stream.Position = record;
        Exactly(stream, zip64, path);
        if (BinaryPrimitives.ReadUInt32LittleEndian(zip64) != 0x06064b50)
        {
            throw Bad(path, "its ZIP64 directory record is damaged");
        }

        return (BinaryPrimitives.ReadInt64LittleEndian(zip64.AsSpan(48)), BinaryPrimitives.ReadInt64LittleEndian(zip64.AsSpan(40)), BinaryPrimitives.ReadInt64LittleEndian(zip64.AsSpan(32)));
    }

    private static void Take64(ref long value, ref ReadOnlySpan<byte> values)
    {
        if (value == 0xFFFFFFFF && values.Length >= 8)
        {
            value = BinaryPrimitives.ReadInt64LittleEndian(values);
            values = values[8..];
        }
    }

    private static int U16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static long U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    private static void Exactly(FileStream stream, Span<byte> bytes, string path)
    {
        if (stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) < bytes.Length)
        {
            throw Bad(path, "it is truncated");
        }
    }

    private static YapoException Bad(string path, string message) => new(YapoErrorKind.Format, $"{path}: {message}");
}

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace YaPO.Llama.Gguf;

/// <summary>
/// Reads the head of a GGUF file: magic, version, counts, key-value pairs, tensor descriptions. No count or length is believed
/// before the bytes left in the file can hold it, so memory stays proportional to the file and nothing overflows.
/// </summary>
internal sealed class GgufParser(FileStream stream, string path)
{
    private const long MaxItems = 1 << 20;
    private const long MaxArrayBytes = 1L << 30;
    private const int MaxKeyBytes = 65535;
    private const int MaxTensorNameBytes = 63; // GGML_MAX_NAME − 1

    private readonly long _length = stream.Length;
    private long _position;

    public GgufFile Parse()
    {
        Span<byte> magic = stackalloc byte[4];
        if (_length < 24)
        {
            throw Bad($"the file has {_length} bytes, a GGUF header alone takes 24");
        }

        Read(magic);
        if (!magic.SequenceEqual("GGUF"u8))
        {
            throw Bad($"it is no GGUF file: it starts with bytes {Convert.ToHexString(magic)}, expected 47475546 (\"GGUF\")");
        }

        var version = U32();
        if ((version & 0xFFFF) == 0 && version != 0)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{path}: big-endian GGUF files are not supported");
        }

        if (version is not (2 or 3))
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{path}: GGUF version {version} is not supported, expected 2 or 3");
        }

        var nTensors = Count("tensors", minimumBytes: 8 + 4 + 8 + 4 + 8);
        var nPairs = Count("key-value pairs", minimumBytes: 8 + 1 + 4 + 1);
        var metadata = new GgufMetadata(path);
        for (long i = 0; i < nPairs; i++)
        {
            var key = Text(MaxKeyBytes, "key");
            var value = Value(key);
            if (key.Length == 0 || !metadata.TryAdd(key, value))
            {
                throw Bad(key.Length == 0 ? $"key {i} is empty" : $"key '{key}' appears twice");
            }
        }

        return new GgufFile(stream, path, version, metadata, Tensors(nTensors, Alignment(metadata)));
    }

    private long Alignment(GgufMetadata metadata)
    {
        if (!metadata.TryGetValue("general.alignment", out var value))
        {
            return 32;
        }

        return value.Data is uint n && n > 0 && (n & (n - 1)) == 0 && n <= 1 << 20
            ? n
            : throw Bad($"general.alignment must be a power of two (u32, at most 2^20), found {value.TypeName} {value.Data}");
    }

    private GgufTensor[] Tensors(long count, long alignment)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var tensors = new GgufTensor[count];
        for (var i = 0; i < count; i++)
        {
            var name = Text(MaxTensorNameBytes, "tensor name");
            if (name.Length == 0 || !names.Add(name))
            {
                throw Bad(name.Length == 0 ? $"tensor {i} has no name" : $"tensor '{name}' appears twice");
            }

            var dimensions = U32();
            if (dimensions is < 1 or > 4)
            {
                throw Bad($"tensor '{name}' has {dimensions} dimensions, expected 1 to 4");
            }

            var shape = new long[dimensions];
            for (var d = 0; d < shape.Length; d++)
            {
                shape[d] = (long)U64();
            }

            var type = (GgmlType)(int)U32();
            var offset = U64();
            if (offset % (ulong)alignment != 0)
            {
                throw Bad($"tensor '{name}': its offset {offset} is no multiple of the alignment {alignment}");
            }

            if (offset > (ulong)_length)
            {
                throw Bad($"tensor '{name}' begins at byte {offset:N0} of the data, the whole file has {_length:N0}; is the download complete?");
            }

            try
            {
                tensors[i] = new GgufTensor(name, type, shape, (long)offset, GgmlTypes.Bytes(type, shape));
            }
            catch (YapoException e)
            {
                throw Bad($"tensor '{name}': {e.Message}");
            }
        }

        Place(tensors, (_position + alignment - 1) / alignment * alignment);
        return tensors;
    }

    /// <summary>Turns offsets into the data section into file offsets; refuses tensors beyond the end or over one another.</summary>
    private void Place(GgufTensor[] tensors, long dataStart)
    {
        for (var i = 0; i < tensors.Length; i++)
        {
            tensors[i] = tensors[i] with { Offset = dataStart + tensors[i].Offset };
            if (tensors[i].Bytes > _length - tensors[i].Offset)
            {
                throw Bad($"tensor '{tensors[i].Name}' ends at byte {tensors[i].Offset + tensors[i].Bytes:N0}, the file has {_length:N0}; is the download complete?");
            }
        }

        var end = dataStart;
        foreach (var tensor in tensors.OrderBy(t => t.Offset))
        {
            if (tensor.Offset < end)
            {
                throw Bad($"tensor '{tensor.Name}' overlaps the one before it");
            }

            end = tensor.Offset + tensor.Bytes;
        }
    }

    private GgufValue Value(string key)
    {
        var type = (GgufValueType)(int)U32();
        if (type != GgufValueType.Array)
        {
            return new GgufValue(type, null, Scalar(key, type));
        }

        var element = (GgufValueType)(int)U32();
        var count = U64();
        if (element == GgufValueType.String)
        {
            return new GgufValue(type, element, Strings(key, count));
        }

        var size = GgufValue.Size(element);
        if (size == 0)
        {
            throw Bad($"key '{key}' is an array of type {(int)element}, which is unknown or an array again");
        }

        if (count > (ulong)Math.Min(_length - _position, MaxArrayBytes) / (ulong)size)
        {
            throw Bad($"key '{key}' claims {count} elements, more than the file holds");
        }

        var n = (int)count;
        return new GgufValue(type, element, element switch
        {
            GgufValueType.UInt8 => Array<byte>(n),
            GgufValueType.Int8 => Array<sbyte>(n),
            GgufValueType.UInt16 => Array<ushort>(n),
            GgufValueType.Int16 => Array<short>(n),
            GgufValueType.UInt32 => Array<uint>(n),
            GgufValueType.Int32 => Array<int>(n),
            GgufValueType.Float32 => Array<float>(n),
            GgufValueType.UInt64 => Array<ulong>(n),
            GgufValueType.Int64 => Array<long>(n),
            GgufValueType.Float64 => Array<double>(n),
            _ => System.Array.ConvertAll(Array<byte>(n), b => b != 0),
        });
    }

    private object Scalar(string key, GgufValueType type)
    {
        if (type == GgufValueType.String)
        {
            return Text(MaxArrayBytes, $"value of key '{key}'");
        }

        var size = GgufValue.Size(type);
        if (size == 0)
        {
            throw Bad($"key '{key}' has type {(int)type}, which is unknown");
        }

        Span<byte> bytes = stackalloc byte[8];
        Read(bytes[..size]);
        return type switch
        {
            GgufValueType.UInt8 => bytes[0],
            GgufValueType.Int8 => (sbyte)bytes[0],
            GgufValueType.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(bytes),
            GgufValueType.Int16 => BinaryPrimitives.ReadInt16LittleEndian(bytes),
            GgufValueType.UInt32 => BinaryPrimitives.ReadUInt32LittleEndian(bytes),
            GgufValueType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(bytes),
            GgufValueType.Float32 => BinaryPrimitives.ReadSingleLittleEndian(bytes),
            GgufValueType.UInt64 => BinaryPrimitives.ReadUInt64LittleEndian(bytes),
            GgufValueType.Int64 => BinaryPrimitives.ReadInt64LittleEndian(bytes),
            GgufValueType.Float64 => BinaryPrimitives.ReadDoubleLittleEndian(bytes),
            _ => (object)(bytes[0] != 0),
        };
    }

    private GgufStrings Strings(string key, ulong count)
    {
        if (count > (ulong)(_length - _position) / 8 || count > 1 << 26)
        {
            throw Bad($"key '{key}' claims {count} strings, more than the file holds");
        }

        var ends = new int[(int)count];
        var bytes = new byte[Math.Min(1 << 16, _length - _position)];
        var end = 0;
        for (var i = 0; i < ends.Length; i++)
        {
            var n = StringLength(MaxArrayBytes, $"string {i} of key '{key}'");
            if (end + (long)n > MaxArrayBytes)
            {
                throw Bad($"the strings of key '{key}' take more than {MaxArrayBytes} bytes");
            }

            if (end + n > bytes.Length)
            {
                System.Array.Resize(ref bytes, (int)Math.Min(MaxArrayBytes, Math.Max(2L * bytes.Length, end + n)));
            }

            Read(bytes.AsSpan(end, n));
            ends[i] = end += n;
        }

        return new GgufStrings(bytes, ends);
    }

    private T[] Array<T>(int count) where T : unmanaged
    {
        var array = new T[count];
        Read(MemoryMarshal.AsBytes(array.AsSpan()));
        return array;
    }

    private long Count(string what, int minimumBytes)
    {
        var n = U64();
        if (n > MaxItems || n > (ulong)(_length / minimumBytes))
        {
            throw Bad($"it claims {n} {what}, which a file of {_length:N0} bytes cannot hold (at most {MaxItems:N0} are read)");
        }

        return (long)n;
    }

    private string Text(long limit, string what)
    {
        var bytes = new byte[StringLength(limit, what)];
        Read(bytes);
        return Encoding.UTF8.GetString(bytes);
    }

    private int StringLength(long limit, string what)
    {
        var n = U64();
        return n <= (ulong)Math.Min(limit, _length - _position)
            ? (int)n
            : throw Bad($"the {what} at byte {_position - 8:N0} claims {n} bytes, allowed are {Math.Min(limit, _length - _position)}");
    }

    private uint U32()
    {
        Span<byte> bytes = stackalloc byte[4];
        Read(bytes);
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    private ulong U64()
    {
        Span<byte> bytes = stackalloc byte[8];
        Read(bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    private void Read(Span<byte> bytes)
    {
        if (stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) < bytes.Length)
        {
            throw Bad($"it ends at byte {_length:N0}, in the middle of its header; is it truncated?");
        }

        _position += bytes.Length;
    }

    private YapoException Bad(string what) => new(YapoErrorKind.Format, $"{path}: {what}");
}

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using YaPO.Llama.IO;

namespace YaPO.Llama.Gguf;

/// <summary>
/// Writes a GGUF version 3 file. Keys and tensors come out in the order they were added and nothing else enters the file, so equal
/// input gives equal bytes. Tensor data is written by callbacks while saving and never held as a whole.
/// </summary>
public sealed class GgufWriter
{
    private const int Alignment = 32;

    private readonly List<(string Key, GgufValue Value)> _pairs = [];
    private readonly List<(string Name, GgmlType Type, long[] Shape, long Bytes, Action<Stream> Write)> _tensors = [];
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);
    private readonly HashSet<string> _keys = new(StringComparer.Ordinal);

    /// <summary>Adds a string.</summary>
    public GgufWriter Set(string key, string value) => Add(key, GgufValueType.String, null, value);

    /// <summary>Adds a 32-bit unsigned integer, the usual type of counts and sizes.</summary>
    public GgufWriter Set(string key, uint value) => Add(key, GgufValueType.UInt32, null, value);

    /// <summary>Adds a 32-bit signed integer.</summary>
    public GgufWriter Set(string key, int value) => Add(key, GgufValueType.Int32, null, value);

    /// <summary>Adds a 64-bit unsigned integer.</summary>
    public GgufWriter Set(string key, ulong value) => Add(key, GgufValueType.UInt64, null, value);

    /// <summary>Adds a float.</summary>
    public GgufWriter Set(string key, float value) => Add(key, GgufValueType.Float32, null, value);

    /// <summary>Adds a boolean.</summary>
    public GgufWriter Set(string key, bool value) => Add(key, GgufValueType.Bool, null, value);

    /// <summary>Adds an array of strings.</summary>
    public GgufWriter Set(string key, IEnumerable<string> values) => Add(key, GgufValueType.Array, GgufValueType.String, new GgufStrings(values));

    /// <summary>Adds an array of 32-bit floats.</summary>
    public GgufWriter Set(string key, float[] values) => Add(key, GgufValueType.Array, GgufValueType.Float32, values);

    /// <summary>Adds an array of 32-bit signed integers.</summary>
    public GgufWriter Set(string key, int[] values) => Add(key, GgufValueType.Array, GgufValueType.Int32, values);

    /// <summary>Adds an array of 32-bit unsigned integers.</summary>
    public GgufWriter Set(string key, uint[] values) => Add(key, GgufValueType.Array, GgufValueType.UInt32, values);

    /// <summary>Adds a string unless it is null or empty: the file then simply lacks the key.</summary>
    public GgufWriter SetIfAny(string key, string? value) => string.IsNullOrEmpty(value) ? this : Set(key, value);

    /// <summary>Adds a value as another file holds it (to copy metadata).</summary>
    public GgufWriter Set(string key, GgufValue value) => Add(key, value.Type, value.ElementType, value.Data);

    /// <summary>
    /// Adds a tensor whose bytes <paramref name="write"/> produces while saving: exactly as many as type and shape need.
    /// </summary>
    /// <param name="name">At most 63 bytes of UTF-8, unique.</param>
    /// <param name="type">Storage type.</param>
    /// <param name="shape">ggml order: row length first.</param>
    /// <param name="write">Writes the data, little-endian.</param>
    public GgufWriter AddTensor(string name, GgmlType type, long[] shape, Action<Stream> write)
    {
        if (name.Length == 0 || Encoding.UTF8.GetByteCount(name) > 63 || !_names.Add(name))
        {
            throw new ArgumentException($"tensor name '{name}' is empty, longer than 63 bytes or used twice");
        }

        _tensors.Add((name, type, [.. shape], GgmlTypes.Bytes(type, shape), write));
        return this;
    }

    /// <summary>Adds a tensor from floats (row-major, rows of shape[0]), stored as F32, F16, BF16 or Q8_0.</summary>
    public GgufWriter AddTensor(string name, GgmlType type, long[] shape, ReadOnlyMemory<float> values)
    {
        var elements = shape.Aggregate(1L, (a, n) => checked(a * n));
        if (elements != values.Length)
        {
            throw new ArgumentException($"tensor '{name}' [{string.Join(", ", shape)}] takes {elements} values, found {values.Length}");
        }

        return AddTensor(name, type, shape, stream => WriteFloats(stream, type, values.Span));
    }

    /// <summary>Adds an I32 tensor.</summary>
    public GgufWriter AddTensor(string name, long[] shape, ReadOnlyMemory<int> values) =>
        AddTensor(name, GgmlType.I32, shape, stream => stream.Write(MemoryMarshal.AsBytes(values.Span)));

    /// <summary>Encodes floats as <paramref name="type"/> and writes them: for use inside tensor callbacks.</summary>
    /// <param name="stream">Where to.</param>
    /// <param name="type">F32, F16, BF16 or Q8_0.</param>
    /// <param name="values">For Q8_0 a multiple of 32.</param>
    public static void WriteFloats(Stream stream, GgmlType type, ReadOnlySpan<float> values)
    {
        const int part = 1 << 14;
        var (blockElements, blockBytes) = GgmlTypes.Block(type);
        var buffer = new byte[(Math.Min(part, values.Length) + blockElements - 1) / blockElements * blockBytes];
        while (values.Length > 0)
        {
            var n = Math.Min(part, values.Length);
            var bytes = buffer.AsSpan(0, n / blockElements * blockBytes);
            RowCodec.Encode(type, values[..n], bytes);
            stream.Write(bytes);
            values = values[n..];
        }
    }

    /// <summary>Writes the file; a reader sees the old content of <paramref name="path"/> or the new, never a part.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Io"/> when it cannot be written.</exception>
    public void Save(string path) => AtomicFile.Write(path, Write);

    /// <summary>Writes the file to a stream that can tell its position.</summary>
    public void Write(Stream stream)
    {
        var start = stream.Position;
        stream.Write(Header());
        foreach (var (name, _, _, bytes, write) in _tensors)
        {
            Pad(stream, start);
            var before = stream.Position;
            write(stream);
            if (stream.Position - before != bytes)
            {
                throw new InvalidOperationException($"tensor '{name}' takes {bytes} bytes, {stream.Position - before} were written");
            }
        }

        Pad(stream, start);
    }

    private byte[] Header()
    {
        var header = new MemoryStream();
        header.Write("GGUF"u8);
        U32(header, 3);
        U64(header, (ulong)_tensors.Count);
        U64(header, (ulong)_pairs.Count);
        foreach (var (key, value) in _pairs)
        {
            Text(header, Encoding.UTF8.GetBytes(key));
            U32(header, (uint)value.Type);
            Value(header, value);
        }

        long offset = 0;
        foreach (var (name, type, shape, bytes, _) in _tensors)
        {
            Text(header, Encoding.UTF8.GetBytes(name));
            U32(header, (uint)shape.Length);
            foreach (var n in shape)
            {
                U64(header, (ulong)n);
            }

            U32(header, (uint)type);
            U64(header, (ulong)offset);
            offset += (bytes + Alignment - 1) / Alignment * Alignment;
        }

        return header.ToArray();
    }

    private static void Value(MemoryStream stream, GgufValue value)
    {
        switch (value.Data)
        {
            case string s:
                Text(stream, Encoding.UTF8.GetBytes(s));
                break;
            case bool b:
                stream.WriteByte(b ? (byte)1 : (byte)0);
                break;
            case GgufStrings strings:
                U32(stream, (uint)GgufValueType.String);
                U64(stream, (ulong)strings.Count);
                for (var i = 0; i < strings.Count; i++)
                {
                    Text(stream, strings.Bytes(i));
                }

                break;
            case Array array:
                U32(stream, (uint)value.ElementType!.Value);
                U64(stream, (ulong)array.Length);
                var bytes = new byte[Buffer.ByteLength(array)];
                Buffer.BlockCopy(array, 0, bytes, 0, bytes.Length);
                stream.Write(bytes);
                break;
            default:
                Number(stream, value.Data);
                break;
        }
    }

    private static void Number(MemoryStream stream, object value)
    {
        Span<byte> bytes = stackalloc byte[8];
        var n = value switch
        {
            byte b => Put(bytes, b),
            sbyte b => Put(bytes, b),
            ushort w => Put(bytes, w),
            short w => Put(bytes, w),
            uint d => Put(bytes, d),
            int d => Put(bytes, d),
            float f => Put(bytes, f),
            ulong q => Put(bytes, q),
            long q => Put(bytes, q),
            double f => Put(bytes, f),
            _ => throw new ArgumentException($"{value.GetType()} is no metadata value"),
        };
        stream.Write(bytes[..n]);
    }

    private static int Put<T>(Span<byte> bytes, T value) where T : unmanaged
    {
        MemoryMarshal.Write(bytes, value);
        return System.Runtime.CompilerServices.Unsafe.SizeOf<T>();
    }

    private GgufWriter Add(string key, GgufValueType type, GgufValueType? element, object data)
    {
        if (key.Length == 0 || !_keys.Add(key))
        {
            throw new ArgumentException($"metadata key '{key}' is empty or used twice");
        }

        if (key == "general.alignment" && data is not (uint and Alignment))
        {
            throw new ArgumentException($"this writer aligns tensors to {Alignment} bytes, general.alignment cannot be {data}");
        }

        _pairs.Add((key, new GgufValue(type, element, data)));
        return this;
    }

    private static void Pad(Stream stream, long start)
    {
        Span<byte> zeros = stackalloc byte[Alignment];
        zeros.Clear();
        stream.Write(zeros[..(int)((Alignment - ((stream.Position - start) % Alignment)) % Alignment)]);
    }

    private static void Text(MemoryStream stream, ReadOnlySpan<byte> text)
    {
        U64(stream, (ulong)text.Length);
        stream.Write(text);
    }

    private static void U32(Stream stream, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        stream.Write(bytes);
    }

    private static void U64(Stream stream, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        stream.Write(bytes);
    }
}

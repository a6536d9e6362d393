using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Encodings.Web;
using System.Text.Json;
using YaPO.Llama.IO;

namespace YaPO.Llama.Safetensors;

/// <summary>
/// Writes a small <c>.safetensors</c> file from memory: u64 header length, JSON header padded with spaces to 8 bytes, data without gaps. Tensors in the order added, metadata sorted by
/// key, nothing else: equal input gives equal bytes.
/// </summary>
public sealed class SafetensorsWriter
{
    private readonly List<(string Name, string Type, long[] Shape, byte[] Data)> _tensors = [];
    private readonly SortedDictionary<string, string> _metadata = new(StringComparer.Ordinal);

    /// <summary>Adds an entry of <c>__metadata__</c>.</summary>
    public SafetensorsWriter Set(string key, string value)
    {
        _metadata[key] = value;
        return this;
    }

    /// <summary>Adds an F32 tensor.</summary>
    public SafetensorsWriter Add(string name, ReadOnlySpan<float> values, params long[] shape) => Add(name, "F32", shape, values.Length, MemoryMarshal.AsBytes(values));

    /// <summary>Adds an I64 tensor, the type that PyTorch indexes with.</summary>
    public SafetensorsWriter Add(string name, ReadOnlySpan<long> values, params long[] shape) => Add(name, "I64", shape, values.Length, MemoryMarshal.AsBytes(values));

    /// <summary>Writes the file; a reader sees the old content of <paramref name="path"/> or the new, never a part.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Io"/> when it cannot be written.</exception>
    public void Save(string path) => AtomicFile.Write(path, stream =>
    {
        var header = Header();
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        stream.Write(length);
        stream.Write(header);
        foreach (var (_, _, _, data) in _tensors)
        {
            stream.Write(data);
        }
    });

    private SafetensorsWriter Add(string name, string type, long[] shape, int count, ReadOnlySpan<byte> data)
    {
        if (shape.Aggregate(1L, (a, n) => checked(a * n)) != count || name == "__metadata__" || _tensors.Exists(t => t.Name == name))
        {
            throw new ArgumentException($"tensor '{name}' ({string.Join(", ", shape)}) with {count} values, or its name is used twice");
        }

        _tensors.Add((name, type, shape, data.ToArray()));
        return this;
    }

    private byte[] Header()
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            if (_metadata.Count > 0)
            {
                json.WriteStartObject("__metadata__");
                foreach (var (key, value) in _metadata)
                {
                    json.WriteString(key, value);
                }

                json.WriteEndObject();
            }

            long offset = 0;
            foreach (var (name, type, shape, data) in _tensors)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", type);
                json.WriteStartArray("shape");
                Array.ForEach(shape, json.WriteNumberValue);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += data.Length);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        while (stream.Length % 8 != 0)
        {
            stream.WriteByte((byte)' ');
        }

        return stream.ToArray();
    }
}

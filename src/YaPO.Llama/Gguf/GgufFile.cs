using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using YaPO.Llama.IO;

namespace YaPO.Llama.Gguf;

/// <summary>
/// A GGUF file (version 2 or 3, little-endian) opened for reading. <see cref="Open"/> checks the whole structure — counts, types,
/// sizes, offsets, overlap, file length — before anything of that size is allocated; tensor data is read on demand with positioned
/// reads, from any thread. Not memory-mapped on purpose: a file that shrinks while in use gives an error instead of a crash.
/// </summary>
public sealed class GgufFile : IDisposable
{
    private readonly FileStream _stream;
    private readonly SafeFileHandle _handle;
    private readonly Dictionary<string, GgufTensor> _byName;

    internal GgufFile(FileStream stream, string path, uint version, GgufMetadata metadata, IReadOnlyList<GgufTensor> tensors)
    {
        _stream = stream;
        _handle = stream.SafeFileHandle;
        _byName = tensors.ToDictionary(t => t.Name, StringComparer.Ordinal);
        Path = path;
        Version = version;
        Metadata = metadata;
        Tensors = tensors;
        Length = stream.Length;
    }

    /// <summary>The path the file was opened with.</summary>
    public string Path { get; }

    /// <summary>GGUF version, 2 or 3.</summary>
    public uint Version { get; }

    /// <summary>File length in bytes.</summary>
    public long Length { get; }

    /// <summary>Key-value pairs in file order.</summary>
    public GgufMetadata Metadata { get; }

    /// <summary>Tensors in file order.</summary>
    public IReadOnlyList<GgufTensor> Tensors { get; }

    /// <summary><c>general.architecture</c>, or an empty string.</summary>
    public string Architecture => Metadata.GetString("general.architecture") ?? "";

    /// <summary>Opens and validates a file.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Io"/> when it cannot be read, <see cref="YapoErrorKind.Format"/> when it
    /// is no valid GGUF, <see cref="YapoErrorKind.Unsupported"/> for versions and byte orders this reader does not know.</exception>
    public static GgufFile Open(string path)
    {
        var stream = InputFile.Open(path);
        try
        {
            return new GgufParser(stream, path).Parse();
        }
        catch (IOException e)
        {
            stream.Dispose();
            throw new YapoException(YapoErrorKind.Io, $"cannot read {path}: {e.Message}", e);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>The tensor of that name, if there is one.</summary>
    public bool TryGetTensor(string name, [MaybeNullWhen(false)] out GgufTensor tensor) => _byName.TryGetValue(name, out tensor);

    /// <summary>The tensor of that name.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/> when the file has none.</exception>
    public GgufTensor RequireTensor(string name) => _byName.TryGetValue(name, out var tensor)
        ? tensor
        : throw new YapoException(YapoErrorKind.Format, $"{Path}: tensor '{name}' is missing");

    /// <summary>The tensor of that name with exactly this shape (ggml order) and one of these types (any when none are given).</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/> when it is missing, or its shape or type differ.</exception>
    public GgufTensor RequireTensor(string name, ReadOnlySpan<long> shape, params ReadOnlySpan<GgmlType> types)
    {
        var tensor = RequireTensor(name);
        if (!tensor.Shape.SequenceEqual(shape.ToArray()))
        {
            throw new YapoException(YapoErrorKind.Format, $"{Path}: tensor '{name}' has shape {tensor.ShapeText}, expected [{string.Join(", ", shape.ToArray())}]");
        }

        if (types.Length > 0 && !types.Contains(tensor.Type))
        {
            throw new YapoException(YapoErrorKind.Format, $"{Path}: tensor '{name}' has type {tensor.Type}, expected {string.Join(" or ", types.ToArray())}");
        }

        return tensor;
    }

    /// <summary>Reads raw bytes of a tensor, starting <paramref name="offset"/> bytes into it.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Io"/> when the file cannot deliver them.</exception>
    public void ReadBytes(GgufTensor tensor, long offset, Span<byte> destination)
    {
        if (offset < 0 || offset > tensor.Bytes - destination.Length)
        {
            throw new ArgumentOutOfRangeException(nameof(offset), $"bytes {offset} … {offset + destination.Length} of tensor '{tensor.Name}' with {tensor.Bytes} bytes");
        }

        try
        {
            for (var done = 0; done < destination.Length;)
            {
                var n = RandomAccess.Read(_handle, destination[done..], tensor.Offset + offset + done);
                if (n == 0)
                {
                    throw new YapoException(YapoErrorKind.Io, $"{Path} became shorter while it was read (tensor '{tensor.Name}')");
                }

                done += n;
            }
        }
        catch (IOException e)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot read tensor '{tensor.Name}' of {Path}: {e.Message}", e);
        }
    }

    /// <summary>The raw bytes of a whole tensor (up to 2 GiB; larger ones are read in parts).</summary>
    public byte[] ReadBytes(GgufTensor tensor)
    {
        if (tensor.Bytes > Array.MaxLength)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{Path}: tensor '{tensor.Name}' of {tensor.Bytes:N0} bytes is too large to be read at once");
        }

        var bytes = GC.AllocateUninitializedArray<byte>((int)tensor.Bytes);
        ReadBytes(tensor, 0, bytes);
        return bytes;
    }

    /// <summary>A whole tensor as floats; F16, BF16 and Q8_0 are decoded. Row-major: rows of Shape[0] elements.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Unsupported"/> for other types or more than 2^31 elements.</exception>
    public float[] ReadFloats(GgufTensor tensor)
    {
        if (tensor.Elements > Array.MaxLength)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{Path}: tensor '{tensor.Name}' of {tensor.Elements:N0} elements is too large to be read at once");
        }

        var values = GC.AllocateUninitializedArray<float>((int)tensor.Elements);
        ReadRows(tensor, 0, values);
        return values;
    }

    /// <summary>
    /// Rows <paramref name="firstRow"/>, … as floats, as many as fill <paramref name="destination"/> (a multiple of the row length).
    /// </summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Unsupported"/> for types other than F32, F16, BF16, Q8_0.</exception>
    public void ReadRows(GgufTensor tensor, long firstRow, Span<float> destination)
    {
        if (!RowCodec.Supports(tensor.Type))
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{Path}: tensor '{tensor.Name}' has type {tensor.Type}; only F32, F16, BF16 and Q8_0 can be read as floats");
        }

        if (destination.Length % tensor.RowLength != 0 || firstRow < 0 || firstRow > tensor.Rows - (destination.Length / tensor.RowLength))
        {
            throw new ArgumentOutOfRangeException(nameof(firstRow), $"{destination.Length} elements from row {firstRow} of tensor '{tensor.Name}' {tensor.ShapeText}");
        }

        // A part is a whole number of blocks of every type, small enough to stay in cache while it is converted.
        const int part = 1 << 16;
        var (blockElements, blockBytes) = GgmlTypes.Block(tensor.Type);
        var offset = firstRow * tensor.RowBytes;
        var buffer = tensor.Type == GgmlType.F32 ? [] : new byte[Math.Min(part, destination.Length) / blockElements * blockBytes];
        for (var done = 0; done < destination.Length;)
        {
            var values = destination.Slice(done, Math.Min(part, destination.Length - done));
            var bytes = values.Length / blockElements * blockBytes;
            if (tensor.Type == GgmlType.F32)
            {
                ReadBytes(tensor, offset, MemoryMarshal.AsBytes(values));
            }
            else
            {
                ReadBytes(tensor, offset, buffer.AsSpan(0, bytes));
                RowCodec.Decode(tensor.Type, buffer.AsSpan(0, bytes), values);
            }

            offset += bytes;
            done += values.Length;
        }
    }

    /// <summary>A whole I32 tensor.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/> for another type.</exception>
    public int[] ReadInt32(GgufTensor tensor) => tensor.Type == GgmlType.I32
        ? MemoryMarshal.Cast<byte, int>(ReadBytes(tensor)).ToArray()
        : throw new YapoException(YapoErrorKind.Format, $"{Path}: tensor '{tensor.Name}' has type {tensor.Type}, expected I32");

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();
}

using System.Buffers.Binary;
using System.Text.Json;
using YaPO.Llama.IO;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Safetensors;

/// <summary>
/// A <c>.safetensors</c> file: u64 length N, N bytes of JSON <c>name → {dtype, shape, data_offsets [b, e)}</c> with an optional <c>__metadata__</c> of strings, then the data in C
/// order. As the format's own reader does, the ranges must cover the data exactly: from 0, without holes or overlaps, to the end of the file.
/// </summary>
public sealed class SafetensorsReader : TensorSource
{
    private const int MaxHeaderBytes = 100_000_000;

    private static readonly Dictionary<string, TensorType> Types = new(StringComparer.Ordinal)
    {
        ["F64"] = TensorType.F64, ["F32"] = TensorType.F32, ["F16"] = TensorType.F16, ["BF16"] = TensorType.BF16,
        ["F8_E4M3"] = TensorType.F8E4M3, ["F8_E5M2"] = TensorType.F8E5M2, ["BOOL"] = TensorType.Bool,
        ["I64"] = TensorType.I64, ["I32"] = TensorType.I32, ["I16"] = TensorType.I16, ["I8"] = TensorType.I8,
        ["U64"] = TensorType.U64, ["U32"] = TensorType.U32, ["U16"] = TensorType.U16, ["U8"] = TensorType.U8,
    };

    private readonly FileStream _stream;
    private readonly Dictionary<string, (TensorInfo Info, long Offset)> _tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _metadata = new(StringComparer.Ordinal);

    private SafetensorsReader(FileStream stream, string path)
        : base(path)
    {
        _stream = stream;
        var header = Header();
        var start = 8L + header.Length;
        var ranges = new List<(long Begin, long End, string Name)>();
        try
        {
            using var document = JsonDocument.Parse(header, new JsonDocumentOptions { MaxDepth = 8, AllowDuplicateProperties = false });
            foreach (var entry in Object(document.RootElement, "its header").EnumerateObject())
            {
                if (entry.Name == "__metadata__")
                {
                    foreach (var pair in Object(entry.Value, "__metadata__").EnumerateObject())
                    {
                        _metadata.Add(pair.Name, pair.Value.ValueKind == JsonValueKind.String ? pair.Value.GetString()! : throw Bad($"__metadata__ '{pair.Name}' is no string"));
                    }

                    continue;
                }

                var (info, begin, end) = Tensor(entry);
                ranges.Add((begin, end, entry.Name));
                _tensors.Add(entry.Name, (info, start + begin));
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path}: its header is no valid JSON: {e.Message}", e);
        }

        long at = 0;
        foreach (var (begin, end, name) in ranges.OrderBy(r => (r.Begin, r.End)))
        {
            at = begin == at ? end : throw Bad($"the data of tensor '{name}' starts at byte {begin:N0}, expected {at:N0}: tensors must follow each other without gap or overlap");
        }

        if (at != stream.Length - start)
        {
            throw Bad($"its tensors take {at:N0} bytes, the file has {stream.Length - start:N0} after the header; is it truncated?");
        }
    }

    /// <inheritdoc/>
    public override IReadOnlyCollection<string> Names => _tensors.Keys;

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>Opens a file and checks its whole header.</summary>
    /// <exception cref="YapoException">Missing, malformed, or truncated.</exception>
    public static SafetensorsReader Open(string path)
    {
        var stream = InputFile.Open(path);
        try
        {
            return new SafetensorsReader(stream, path);
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

    /// <inheritdoc/>
    public override TensorInfo Info(string name) => Find(name).Info;

    /// <inheritdoc/>
    public override TensorData OpenTensor(string name, string? temporaryFolder = null, CancellationToken cancellation = default)
    {
        var (info, offset) = Find(name);
        return new TensorData(Readable(info), _stream.SafeFileHandle, offset, Describe(name), null);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _stream.Dispose();

    private byte[] Header()
    {
        Span<byte> length = stackalloc byte[8];
        if (_stream.ReadAtLeast(length, 8, throwOnEndOfStream: false) < 8)
        {
            throw Bad("it is too short for a safetensors file");
        }

        var n = BinaryPrimitives.ReadUInt64LittleEndian(length);
        if (n > MaxHeaderBytes || (long)n > _stream.Length - 8)
        {
            throw Bad($"its header claims {n:N0} bytes, the file has {_stream.Length:N0} and at most {MaxHeaderBytes:N0} are read; it is no safetensors file, or truncated");
        }

        var header = new byte[n];
        return _stream.ReadAtLeast(header, header.Length, throwOnEndOfStream: false) == header.Length ? header : throw Bad("it ends inside the header");
    }

    private (TensorInfo Info, long Begin, long End) Tensor(JsonProperty entry)
    {
        var what = $"tensor '{entry.Name}'";
        string? dtype = null;
        long[]? shape = null, offsets = null;
        foreach (var field in Object(entry.Value, what).EnumerateObject())
        {
            switch (field.Name)
            {
                case "dtype":
                    dtype = field.Value.GetString();
                    break;
                case "shape":
                    shape = Numbers(field.Value, what);
                    break;
                case "data_offsets":
                    offsets = Numbers(field.Value, what);
                    break;
                default:
                    throw Bad($"{what} has the unknown field '{field.Name}'");
            }
        }

        if (dtype is null || shape is null || offsets is not { Length: 2 })
        {
            throw Bad($"{what} lacks dtype, shape or data_offsets");
        }

        var type = Types.TryGetValue(dtype, out var known)
            ? known
            : throw new YapoException(YapoErrorKind.Unsupported, $"{Path}: {what} has the unknown dtype '{dtype}'");
        TensorInfo.CheckShape(shape, $"{Path}: {what}");
        var info = new TensorInfo(entry.Name, type, shape);
        if (offsets[0] < 0 || offsets[1] < offsets[0] || offsets[1] - offsets[0] != info.DataBytes)
        {
            throw Bad($"{what} {info.ShapeText} of {dtype} takes {info.DataBytes:N0} bytes, its data_offsets are [{offsets[0]}, {offsets[1]}]");
        }

        return (info, offsets[0], offsets[1]);
    }

    private long[] Numbers(JsonElement array, string what)
    {
        if (array.ValueKind != JsonValueKind.Array || array.GetArrayLength() > 64)
        {
            throw Bad($"{what}: shape and data_offsets must be short arrays");
        }

        return [.. array.EnumerateArray().Select(n => n.ValueKind == JsonValueKind.Number && n.TryGetInt64(out var value) && value >= 0
            ? value
            : throw Bad($"{what}: {n.GetRawText()} is no size"))];
    }

    private JsonElement Object(JsonElement element, string what) => element.ValueKind == JsonValueKind.Object ? element : throw Bad($"{what} is no JSON object");

    private (TensorInfo Info, long Offset) Find(string name) => _tensors.TryGetValue(name, out var tensor) ? tensor : throw Missing(name);

    private YapoException Bad(string message) => new(YapoErrorKind.Format, $"{Path}: {message}");
}

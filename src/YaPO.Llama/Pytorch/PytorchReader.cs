using System.Globalization;
using YaPO.Llama.Tensors;
using YaPO.Llama.Zip;

namespace YaPO.Llama.Pytorch;

/// <summary>
/// A <c>.pt</c> file as <c>torch.save</c> writes it since PyTorch 1.6: a ZIP with <c>data.pkl</c> and one stored member <c>data/KEY</c> per storage. Reads a bare tensor or
/// Parameter (its name is empty), and dictionaries, lists and state_dicts of them, nested ones too (<c>outer.inner</c>); other plain values appear as metadata.
/// The pickle is interpreted as data by <see cref="PickleMachine"/>: no code in it can run. Tensors must be contiguous, or the transpose of a contiguous matrix.
/// </summary>
public sealed class PytorchReader : TensorSource
{
    private const int MaxPickleBytes = 1 << 22;
    private const int MaxDepth = 16;
    private const int MaxEntries = 1 << 16;

    private readonly ZipReader _zip;
    private readonly string _root;
    private readonly Dictionary<string, ZipMember> _members;
    private readonly Dictionary<string, (TensorInfo Info, ZipMember Storage, long Offset)> _tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _metadata = new(StringComparer.Ordinal);
    private int _entries;

    private PytorchReader(ZipReader zip, string path)
        : base(path)
    {
        _zip = zip;
        _members = zip.Members.ToDictionary(m => m.Name, StringComparer.Ordinal);
        var pickles = zip.Members.Where(m => IsPickle(m.Name)).ToList();
        if (pickles.Count != 1)
        {
            throw Bad($"it holds {pickles.Count} members data.pkl, expected one: it is no file of torch.save");
        }

        _root = pickles[0].Name[..^"data.pkl".Length];
        if (_members.TryGetValue(_root + "byteorder", out var order) && !zip.ReadAll(order, 16).AsSpan().SequenceEqual("little"u8))
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{path}: its byte order is not little");
        }

        Collect(PickleMachine.Read(zip.ReadAll(pickles[0], MaxPickleBytes), path), "", 0);
    }

    /// <inheritdoc/>
    public override IReadOnlyCollection<string> Names => _tensors.Keys;

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>Opens a file and checks every tensor in it against the storage that it names.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: damaged; <see cref="YapoErrorKind.Unsupported"/>: it holds more than tensors and plain data.</exception>
    public static PytorchReader Open(string path)
    {
        var zip = ZipReader.Open(path);
        try
        {
            return new PytorchReader(zip, path);
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            using (zip)
            {
                throw zip.Wrap("data.pkl", e);
            }
        }
        catch
        {
            zip.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override TensorInfo Info(string name) => Find(name).Info;

    /// <inheritdoc/>
    public override TensorData OpenTensor(string name, string? temporaryFolder = null, CancellationToken cancellation = default)
    {
        var (info, storage, offset) = Find(name);
        try
        {
            return new TensorData(Readable(info), _zip.Handle, _zip.VerifyStored(storage, cancellation) + (offset * info.Type.ItemBytes()), Describe(name), null);
        }
        catch (IOException e)
        {
            throw _zip.Wrap($"array '{name}'", e);
        }
    }

    /// <summary>Whether a member of an archive is the pickle that makes it a PyTorch file.</summary>
    internal static bool IsPickle(string member) => member == "data.pkl" || (member.EndsWith("/data.pkl", StringComparison.Ordinal) && member.Count(c => c == '/') == 1);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _zip.Dispose();

    private void Collect(object? value, string name, int depth)
    {
        // Memoized values may contain each other or appear many times, so both limits are needed.
        if (depth > MaxDepth || ++_entries > MaxEntries)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{Path}: its containers are nested deeper than {MaxDepth} or hold more than {MaxEntries:N0} entries");
        }

        switch (value)
        {
            case PickleTensor tensor:
                Add(tensor, name);
                break;
            case PickleDictionary dictionary:
                foreach (var (key, item) in dictionary.Entries)
                {
                    Collect(item, Join(name, key as string ?? (key as long?)?.ToString(CultureInfo.InvariantCulture) ?? throw Bad("a dictionary has a key that is neither text nor integer")), depth + 1);
                }

                break;
            case IReadOnlyList<object?> list: // a list or tuple
                for (var i = 0; i < list.Count; i++)
                {
                    Collect(list[i], Join(name, i.ToString(CultureInfo.InvariantCulture)), depth + 1);
                }

                break;
            case string or long or double or bool:
                if (!_metadata.TryAdd(name, Convert.ToString(value, CultureInfo.InvariantCulture)!))
                {
                    throw Bad($"entry '{name}' appears twice");
                }

                break;
        }
    }

    private static string Join(string name, string key) => name.Length == 0 ? key : $"{name}.{key}";

    private void Add(PickleTensor tensor, string name)
    {
        var what = name.Length == 0 ? "the tensor" : $"tensor '{name}'";
        var storage = tensor.Storage;
        if (!_members.TryGetValue($"{_root}data/{storage.Key}", out var member))
        {
            throw Bad($"the data of {what} is missing: there is no member data/{storage.Key}");
        }

        TensorInfo.CheckShape(tensor.Shape, $"{Path}: {what}");
        var info = new TensorInfo(name, storage.Type, tensor.Shape, IsTransposed(tensor, what));
        if (member.Method != 0 || member.Bytes != storage.Elements * storage.Type.ItemBytes())
        {
            throw Bad($"storage {storage.Key} has {member.Bytes:N0} bytes in the archive; expected {storage.Elements:N0} stored elements of {storage.Type}");
        }

        if (tensor.Offset > storage.Elements - info.Elements)
        {
            throw Bad($"{what} {info.ShapeText} starts at element {tensor.Offset:N0} of a storage of {storage.Elements:N0}");
        }

        if (!_tensors.TryAdd(name, (info, member, tensor.Offset)))
        {
            throw Bad($"{what} appears twice");
        }
    }

    private bool IsTransposed(PickleTensor tensor, string what)
    {
        if (Contiguous(tensor.Shape, tensor.Strides))
        {
            return false;
        }

        return tensor.Shape.Length == 2 && Contiguous([.. tensor.Shape.Reverse()], [.. tensor.Strides.Reverse()])
            ? true
            : throw new YapoException(YapoErrorKind.Unsupported, $"{Path}: {what} is a view with strides ({string.Join(", ", tensor.Strides)}); save it with .contiguous()");
    }

    private static bool Contiguous(long[] shape, long[] strides)
    {
        long expected = 1;
        for (var i = shape.Length - 1; i >= 0; i--)
        {
            if (shape[i] != 1 && strides[i] != expected)
            {
                return shape.Contains(0); // nothing is read then
            }

            expected *= Math.Max(1, shape[i]);
        }

        return true;
    }

    private (TensorInfo Info, ZipMember Storage, long Offset) Find(string name) => _tensors.TryGetValue(name, out var tensor) ? tensor : throw Missing(name);

    private YapoException Bad(string message) => new(YapoErrorKind.Format, $"{Path}: {message}");
}

namespace YaPO.Llama.Tensors;

/// <summary>
/// A file of named tensors: <c>.npy</c>, <c>.npz</c>, <c>.safetensors</c> or PyTorch's <c>.pt</c>. Opening reads the directory only; data is read on demand, so files larger than
/// memory are fine. Not for use by several threads at once.
/// <code>using var source = TensorFile.Open("vec.pt"); float[] v = source.Read(source.OnlyName());</code>
/// </summary>
public abstract class TensorSource(string path) : IDisposable
{
    /// <summary>The path it was opened with.</summary>
    public string Path { get; } = path;

    /// <summary>Names of the tensors in the order of the file. A lone tensor without a name has the empty one; nested dictionaries join their keys with dots.</summary>
    public abstract IReadOnlyCollection<string> Names { get; }

    /// <summary>Strings, numbers and flags beside the tensors, as text: safetensors' <c>__metadata__</c>, scalars of a PyTorch dictionary.</summary>
    public virtual IReadOnlyDictionary<string, string> Metadata { get; } = new Dictionary<string, string>();

    /// <summary>Whether there is a tensor of that name.</summary>
    public bool Contains(string name) => Names.Contains(name);

    /// <summary>Type, order and shape of a tensor, without reading its data.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: no such tensor, or its description is damaged.</exception>
    public abstract TensorInfo Info(string name);

    /// <summary>
    /// Opens a tensor for reading in parts; dispose it before this source. A container with checksums verifies the data once here, so look at <see cref="Info"/> first where the
    /// size matters.
    /// </summary>
    /// <param name="name">Its name.</param>
    /// <param name="temporaryFolder">Where compressed data is unpacked to; null: the system's temporary folder.</param>
    /// <param name="cancellation">Stops checking and unpacking.</param>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: no such tensor, or damaged; <see cref="YapoErrorKind.Unsupported"/>: its elements cannot be read as float.</exception>
    public abstract TensorData OpenTensor(string name, string? temporaryFolder = null, CancellationToken cancellation = default);

    /// <summary>A whole tensor as floats in C order (last index fastest).</summary>
    /// <exception cref="YapoException">As for <see cref="OpenTensor"/>, or it has more than 2^31 elements.</exception>
    public float[] Read(string name)
    {
        using var data = OpenTensor(name);
        return data.ReadAll();
    }

    /// <summary>The name of the only tensor.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/>: there are none or several; the message lists them.</exception>
    public string OnlyName() => Names.Count == 1
        ? Names.First()
        : throw new YapoException(YapoErrorKind.InvalidArgument, $"{Path} holds {Names.Count} arrays ({Listed()}); say which one (--member)");

    /// <summary>File and tensor, as messages name them.</summary>
    public string Describe(string name) => name.Length == 0 ? Path : $"{Path}: array '{name}'";

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes the file.</summary>
    protected abstract void Dispose(bool disposing);

    /// <summary>What to throw when there is no tensor of that name.</summary>
    private protected YapoException Missing(string name) =>
        new(YapoErrorKind.Format, $"{Path}: it holds no array '{name}', but {(Names.Count == 0 ? "none at all" : Listed())}");

    /// <summary>Refuses element types that <see cref="TensorData"/> does not convert.</summary>
    private protected TensorInfo Readable(TensorInfo info) => info.Type.IsReadable()
        ? info
        : throw new YapoException(YapoErrorKind.Unsupported, $"{Describe(info.Name)} holds {info.Type} elements; expected F32, F16, BF16 or F64");

    private string Listed() => Names.Count <= 12 ? string.Join(", ", Names) : $"{string.Join(", ", Names.Take(12))}, … ({Names.Count} in all)";
}

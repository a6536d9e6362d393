using YaPO.Llama.IO;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Numpy;

/// <summary>A <c>.npy</c> file of floats: one tensor whose name is empty.</summary>
public sealed class NpyReader : TensorSource
{
    private readonly FileStream _stream;
    private readonly NpyHeader _header;

    private NpyReader(FileStream stream, NpyHeader header, string path)
        : base(path) => (_stream, _header) = (stream, header);

    /// <inheritdoc/>
    public override IReadOnlyCollection<string> Names => [""];

    /// <summary>Opens a file and checks that its length is what its header declares.</summary>
    /// <exception cref="YapoException">Missing, malformed, truncated, or of another element type.</exception>
    public static NpyReader Open(string path)
    {
        var stream = InputFile.Open(path);
        try
        {
            var header = NpyHeader.Read(stream, path);
            var info = header.ToInfo("");
            if (stream.Length - header.HeaderBytes != info.DataBytes)
            {
                throw new YapoException(
                    YapoErrorKind.Format,
                    $"{path}: shape {info.ShapeText} takes {info.DataBytes:N0} bytes of data, the file has {stream.Length - header.HeaderBytes:N0}; is it truncated?");
            }

            return new NpyReader(stream, header, path);
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
    public override TensorInfo Info(string name) => name.Length == 0 ? _header.ToInfo("") : throw Missing(name);

    /// <inheritdoc/>
    public override TensorData OpenTensor(string name, string? temporaryFolder = null, CancellationToken cancellation = default) =>
        new(Info(name), _stream.SafeFileHandle, _header.HeaderBytes, Describe(name), null);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _stream.Dispose();
}

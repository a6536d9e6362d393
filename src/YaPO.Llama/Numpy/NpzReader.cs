using System.Diagnostics.CodeAnalysis;
using YaPO.Llama.Tensors;
using YaPO.Llama.Zip;

namespace YaPO.Llama.Numpy;

/// <summary>
/// An <c>.npz</c> file: a ZIP (ZIP64 too) of <c>NAME.npy</c> members, stored or deflated. Stored members are read in place; deflated ones
/// are unpacked to a temporary file that vanishes with the tensor. A member's CRC is checked when it is opened.
/// </summary>
public sealed class NpzReader : TensorSource
{
    private readonly ZipReader _zip;
    private readonly Dictionary<string, ZipMember> _members;

    private NpzReader(ZipReader zip, string path)
        : base(path)
    {
        _zip = zip;
        _members = zip.Members.Where(m => m.Name.EndsWith(".npy", StringComparison.Ordinal)).ToDictionary(m => m.Name[..^4], StringComparer.Ordinal);
    }

    /// <inheritdoc/>
    public override IReadOnlyCollection<string> Names => _members.Keys;

    /// <summary>Opens a file and reads its directory.</summary>
    /// <exception cref="YapoException">Missing or no valid ZIP.</exception>
    [SuppressMessage("Reliability", "CA2000", Justification = "the reader owns the file")]
    public static NpzReader Open(string path) => new(ZipReader.Open(path), path);

    /// <inheritdoc/>
    public override TensorInfo Info(string name)
    {
        var member = Find(name);
        try
        {
            return Header(member, name).ToInfo(name);
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            throw _zip.Wrap($"array '{name}'", e);
        }
    }

    /// <inheritdoc/>
    [SuppressMessage("Reliability", "CA2000", Justification = "the tensor owns the temporary file")]
    public override TensorData OpenTensor(string name, string? temporaryFolder = null, CancellationToken cancellation = default)
    {
        var member = Find(name);
        try
        {
            var header = Header(member, name);
            if (member.Method == 0)
            {
                return new TensorData(header.ToInfo(name), _zip.Handle, _zip.VerifyStored(member, cancellation) + header.HeaderBytes, Describe(name), null);
            }

            var file = _zip.Unpack(member, temporaryFolder, cancellation);
            return new TensorData(header.ToInfo(name), file.SafeFileHandle, header.HeaderBytes, Describe(name), file);
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            throw _zip.Wrap($"array '{name}'", e);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _zip.Dispose();

    private NpyHeader Header(ZipMember member, string name)
    {
        using var content = _zip.Content(member);
        var header = NpyHeader.Read(content, Describe(name));
        var info = header.ToInfo(name);
        return header.HeaderBytes + info.DataBytes == member.Bytes
            ? header
            : throw _zip.Bad(member, $"shape {info.ShapeText} takes {info.DataBytes:N0} bytes of data, the member has {member.Bytes - header.HeaderBytes:N0}");
    }

    private ZipMember Find(string name) => _members.TryGetValue(name, out var member) ? member : throw Missing(name);
}

using System.Diagnostics.CodeAnalysis;
using System.IO.Compression;
using YaPO.Llama.IO;

namespace YaPO.Llama.Numpy;

/// <summary>
/// An <c>.npz</c> file: a ZIP (ZIP64 too) of <c>NAME.npy</c> members, stored or deflated. Stored members are read in place; deflated ones
/// are unpacked to a temporary file that vanishes with the array. A member's CRC is checked when it is opened.
/// </summary>
public sealed class NpzReader : IDisposable
{
    private readonly FileStream _stream;
    private readonly string _path;
    private readonly Dictionary<string, ZipMember> _members = new(StringComparer.Ordinal);

    private NpzReader(FileStream stream, string path)
    {
        (_stream, _path) = (stream, path);
        foreach (var member in ZipDirectory.Read(stream, path))
        {
            if (member.Name.EndsWith(".npy", StringComparison.Ordinal) && !_members.TryAdd(member.Name[..^4], member))
            {
                throw new YapoException(YapoErrorKind.Format, $"{path}: member '{member.Name}' appears twice");
            }
        }
    }

    /// <summary>Names of the arrays, without <c>.npy</c>.</summary>
    public IReadOnlyCollection<string> Names => _members.Keys;

    /// <summary>Opens a file and reads its directory.</summary>
    /// <exception cref="YapoException">Missing or no valid ZIP.</exception>
    public static NpzReader Open(string path)
    {
        var stream = InputFile.Open(path);
        try
        {
            return new NpzReader(stream, path);
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

    /// <summary>Whether there is an array of that name.</summary>
    public bool Contains(string name) => _members.ContainsKey(name);

    /// <summary>Type, order and shape of an array, without reading its data.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: no such array, or its header and size disagree.</exception>
    public NpyHeader Header(string name)
    {
        try
        {
            var member = Find(name);
            using var content = Content(member);
            return Header(content, member);
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            throw Damaged(name, e);
        }
    }

    /// <summary>Opens an array. Call <see cref="Header(string)"/> first where the size matters: this reads the whole member once.</summary>
    /// <param name="name">Its name, without <c>.npy</c>.</param>
    /// <param name="temporaryFolder">Where a deflated member is unpacked to; null: the system's temporary folder.</param>
    /// <param name="cancellation">Stops the unpacking.</param>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: no such array, damaged, or larger than its header declares.</exception>
    public NpyArray OpenArray(string name, string? temporaryFolder = null, CancellationToken cancellation = default)
    {
        try
        {
            var member = Find(name);
            using var content = Content(member);
            var header = Header(content, member);
            if (member.Method == 0)
            {
                content.Position = 0;
                Copy(content, null, member, member.Bytes, Crc32.Start, cancellation);
                return new NpyArray(header, _stream.SafeFileHandle, content.Start + header.HeaderBytes, Describe(name), null);
            }

            return Unpack(member, header, temporaryFolder, cancellation);
        }
        catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
        {
            throw Damaged(name, e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    [SuppressMessage("Reliability", "CA2000", Justification = "the array owns the temporary file")]
    private NpyArray Unpack(ZipMember member, NpyHeader header, string? folder, CancellationToken cancellation)
    {
        var path = Path.Combine(folder ?? Path.GetTempPath(), $"yapo-{Guid.NewGuid():N}.tmp");
        var file = new FileStream(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1 << 16, FileOptions.DeleteOnClose);
        try
        {
            using var content = Content(member);
            using var inflate = new DeflateStream(content, CompressionMode.Decompress);
            Copy(inflate, file, member, member.Bytes, Crc32.Start, cancellation);
            file.Flush();
            return new NpyArray(header, file.SafeFileHandle, header.HeaderBytes, Describe(member.Name[..^4]), file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Reads exactly <paramref name="bytes"/> bytes, checks that nothing follows and that the CRC is right.</summary>
    private void Copy(Stream source, Stream? destination, ZipMember member, long bytes, uint crc, CancellationToken cancellation)
    {
        var buffer = new byte[1 << 17];
        while (bytes > 0)
        {
            cancellation.ThrowIfCancellationRequested();
            var n = source.Read(buffer, 0, (int)Math.Min(buffer.Length, bytes));
            if (n == 0)
            {
                throw Bad(member.Name, $"it ends {bytes:N0} bytes early");
            }

            crc = Crc32.Append(crc, buffer.AsSpan(0, n));
            destination?.Write(buffer, 0, n);
            bytes -= n;
        }

        if (source.Read(buffer, 0, 1) != 0)
        {
            throw Bad(member.Name, $"it holds more than the {member.Bytes:N0} bytes that it declares");
        }

        if (Crc32.Finish(crc) != member.Crc32)
        {
            throw Bad(member.Name, $"its CRC-32 is {Crc32.Finish(crc):x8}, expected {member.Crc32:x8}; the file is damaged, download it again");
        }
    }

    private NpyHeader Header(FileWindow content, ZipMember member)
    {
        using var inflate = member.Method == 8 ? new DeflateStream(content, CompressionMode.Decompress, leaveOpen: true) : null;
        var header = NpyHeader.Read((Stream?)inflate ?? content, Describe(member.Name[..^4]));
        return header.HeaderBytes + header.DataBytes == member.Bytes
            ? header
            : throw Bad(member.Name, $"shape {header.ShapeText} takes {header.DataBytes:N0} bytes of data, the member has {member.Bytes - header.HeaderBytes:N0}");
    }

    private FileWindow Content(ZipMember member) =>
        new(_stream.SafeFileHandle, ZipDirectory.DataOffset(_stream, member, _path), member.CompressedBytes);

    private ZipMember Find(string name) => _members.TryGetValue(name, out var member)
        ? member
        : throw new YapoException(YapoErrorKind.Format, $"{_path}: it holds no array '{name}', but {(Names.Count == 0 ? "none at all" : string.Join(", ", Names))}");

    private string Describe(string name) => $"{_path}: array '{name}'";

    private YapoException Bad(string member, string message) => new(YapoErrorKind.Format, $"{_path}: member '{member}': {message}");

    private YapoException Damaged(string name, Exception e) => e is InvalidDataException
        ? new YapoException(YapoErrorKind.Format, $"{_path}: array '{name}' is damaged: {e.Message}", e)
        : new YapoException(YapoErrorKind.Io, $"cannot read array '{name}' of {_path}: {e.Message}", e);
}

using System.Diagnostics.CodeAnalysis;
using System.IO.Compression;
using Microsoft.Win32.SafeHandles;
using YaPO.Llama.IO;

namespace YaPO.Llama.Zip;

/// <summary>
/// A ZIP file (ZIP64 too) whose members are read in place where they are stored, and unpacked to a temporary file where they are deflated. No member yields more
/// bytes than the directory declares, and its CRC is checked before anyone uses it.
/// </summary>
internal sealed class ZipReader : IDisposable
{
    private readonly FileStream _stream;
    private readonly string _path;

    private ZipReader(FileStream stream, string path)
    {
        (_stream, _path) = (stream, path);
        Members = ZipDirectory.Read(stream, path);
        if (Members.GroupBy(m => m.Name, StringComparer.Ordinal).FirstOrDefault(g => g.Count() > 1) is { } twice)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path}: member '{twice.Key}' appears twice");
        }
    }

    public IReadOnlyList<ZipMember> Members { get; }

    public SafeFileHandle Handle => _stream.SafeFileHandle;

    /// <exception cref="YapoException">Missing, or no valid ZIP.</exception>
    public static ZipReader Open(string path)
    {
        var stream = InputFile.Open(path);
        try
        {
            return new ZipReader(stream, path);
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

    /// <summary>The member's bytes as they lie in the file.</summary>
    public FileWindow Raw(ZipMember member) => new(_stream.SafeFileHandle, ZipDirectory.DataOffset(_stream, member, _path), member.CompressedBytes);

    /// <summary>The member's bytes, unpacked; nothing is checked beyond what the caller reads.</summary>
    [SuppressMessage("Reliability", "CA2000", Justification = "a window holds no resource, and the inflater closes it")]
    public Stream Content(ZipMember member) => member.Method == 8 ? new DeflateStream(Raw(member), CompressionMode.Decompress) : Raw(member);

    /// <summary>Reads a stored member once and checks its CRC; returns where its first byte lies in the file.</summary>
    public long VerifyStored(ZipMember member, CancellationToken cancellation)
    {
        using var window = Raw(member);
        Copy(window, null, member, cancellation);
        return window.Start;
    }

    /// <summary>Unpacks a deflated member into a file that vanishes when it is closed.</summary>
    public FileStream Unpack(ZipMember member, string? folder, CancellationToken cancellation)
    {
        var path = Path.Combine(folder ?? Path.GetTempPath(), $"yapo-{Guid.NewGuid():N}.tmp");
        var file = new FileStream(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1 << 16, FileOptions.DeleteOnClose);
        try
        {
            using var content = Content(member);
            Copy(content, file, member, cancellation);
            file.Flush();
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>A small member as bytes.</summary>
    /// <exception cref="YapoException">Larger than <paramref name="limit"/>, or damaged.</exception>
    public byte[] ReadAll(ZipMember member, int limit)
    {
        if (member.Bytes > limit)
        {
            throw Bad(member, $"it has {member.Bytes:N0} bytes, at most {limit:N0} are read");
        }

        using var content = Content(member);
        var bytes = new MemoryStream((int)member.Bytes);
        Copy(content, bytes, member, default);
        return bytes.ToArray();
    }

    /// <summary>Damage and failed reads, as exceptions that name the file.</summary>
    public YapoException Wrap(string what, Exception e) => e is InvalidDataException
        ? new YapoException(YapoErrorKind.Format, $"{_path}: {what} is damaged: {e.Message}", e)
        : new YapoException(YapoErrorKind.Io, $"cannot read {what} of {_path}: {e.Message}", e);

    public YapoException Bad(ZipMember member, string message) => new(YapoErrorKind.Format, $"{_path}: member '{member.Name}': {message}");

    public void Dispose() => _stream.Dispose();

    /// <summary>Reads exactly the declared bytes, checks that nothing follows and that the CRC is right.</summary>
    private void Copy(Stream source, Stream? destination, ZipMember member, CancellationToken cancellation)
    {
        var buffer = new byte[(int)Math.Clamp(member.Bytes, 1, 1 << 17)];
        var crc = Crc32.Start;
        for (var rest = member.Bytes; rest > 0;)
        {
            cancellation.ThrowIfCancellationRequested();
            var n = source.Read(buffer, 0, (int)Math.Min(buffer.Length, rest));
            if (n == 0)
            {
                throw Bad(member, $"it ends {rest:N0} bytes early");
            }

            crc = Crc32.Append(crc, buffer.AsSpan(0, n));
            destination?.Write(buffer, 0, n);
            rest -= n;
        }

        if (source.Read(buffer, 0, 1) != 0)
        {
            throw Bad(member, $"it holds more than the {member.Bytes:N0} bytes that it declares");
        }

        if (Crc32.Finish(crc) != member.Crc32)
        {
            throw Bad(member, $"its CRC-32 is {Crc32.Finish(crc):x8}, expected {member.Crc32:x8}; the file is damaged, download it again");
        }
    }
}

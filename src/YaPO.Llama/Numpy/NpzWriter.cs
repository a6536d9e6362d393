using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using YaPO.Llama.IO;

namespace YaPO.Llama.Numpy;

/// <summary>
/// Writes an uncompressed <c>.npz</c> from memory: a ZIP of <c>NAME.npy</c> members in the order added, without time stamps, so that equal input
/// gives equal bytes.
/// </summary>
public sealed class NpzWriter
{
    private static readonly DateTimeOffset NoTime = new(1980, 1, 1, 0, 0, 0, TimeSpan.Zero); // the earliest that ZIP can say

    private readonly List<(string Name, byte[] Npy)> _members = [];

    /// <summary>Adds a 1-D array of 32-bit floats.</summary>
    public NpzWriter Add(string name, ReadOnlySpan<float> values) => Add(name, "<f4", $"({values.Length},)", MemoryMarshal.AsBytes(values));

    /// <summary>Adds a 1-D array of 64-bit integers.</summary>
    public NpzWriter Add(string name, ReadOnlySpan<long> values) => Add(name, "<i8", $"({values.Length},)", MemoryMarshal.AsBytes(values));

    /// <summary>Adds a text as a scalar string (<c>str(archive[name])</c> in Python).</summary>
    public NpzWriter Add(string name, string text)
    {
        var bytes = Encoding.UTF32.GetBytes(text); // little-endian, one unit per character, as NumPy stores strings
        return Add(name, $"<U{bytes.Length / 4}", "()", bytes);
    }

    /// <summary>Writes the file; a reader sees the old content of <paramref name="path"/> or the new, never a part.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Io"/> when it cannot be written.</exception>
    public void Save(string path) => AtomicFile.Write(path, stream =>
    {
        using var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true);
        foreach (var (name, npy) in _members)
        {
            var entry = zip.CreateEntry($"{name}.npy", CompressionLevel.NoCompression);
            entry.LastWriteTime = NoTime;
            entry.ExternalAttributes = 0;
            using var content = entry.Open();
            content.Write(npy);
        }
    });

    private NpzWriter Add(string name, string type, string shape, ReadOnlySpan<byte> data)
    {
        // Version 1: magic, version, u16 length, dictionary padded with spaces so that the data starts at a multiple of 64.
        const int fixedBytes = 10;
        var dictionary = $"{{'descr': '{type}', 'fortran_order': False, 'shape': {shape}, }}";
        var headerBytes = ((fixedBytes + dictionary.Length + 1 + 63) / 64 * 64) - fixedBytes;
        var npy = new MemoryStream();
        npy.Write([0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y', 1, 0, (byte)headerBytes, (byte)(headerBytes >> 8)]);
        npy.Write(Encoding.ASCII.GetBytes(dictionary.PadRight(headerBytes - 1) + "\n"));
        npy.Write(data);
        _members.Add((name, npy.ToArray()));
        return this;
    }
}

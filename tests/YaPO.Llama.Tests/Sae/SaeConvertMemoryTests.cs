using System.Diagnostics;
using System.Globalization;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using Xunit.Abstractions;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Tests.Sae;

/// <summary>
/// The built converter as a process on a Gemma Scope file of random values: its peak memory must not grow with the file. CI takes a narrow SAE; <c>YAPO_SAE_WIDTH=65536</c>
/// makes one of the true size (1.21 GB) and reports the time beside that of copying the file, flushing the copy and reading the file once.
/// </summary>
public sealed class SaeConvertMemoryTests(ITestOutputHelper log) : IDisposable
{
    private const int D = 2304;
    private const long MostKilobytes = 300_000;
    private static readonly int Width = int.TryParse(Environment.GetEnvironmentVariable("YAPO_SAE_WIDTH"), CultureInfo.InvariantCulture, out var n) ? n : 4096;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Convert_GemmaScopeOfAnyWidth_StaysBelow300Megabytes()
    {
        var input = _folder.File("params.npz");
        WriteNpz(input);
        var copy = Stopwatch.StartNew();
        CopyAndRead(input);
        copy.Stop();

        var convert = Stopwatch.StartNew();
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "yapo-llama.exe" : "yapo-llama"), ["sae", "convert", "--input", input, "--layer", "12", "--output", _folder.File("sae.gguf")])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        long peak = 0;
        using (var process = Process.Start(start)!)
        {
            var error = process.StandardError.ReadToEndAsync();
            while (!process.WaitForExit(20))
            {
                process.Refresh();
                peak = Math.Max(peak, PeakKilobytes(process));
            }

            process.ExitCode.Should().Be(0, await error);
        }

        convert.Stop();
        log.WriteLine($"width {Width}, {new FileInfo(input).Length / 1e6:0} MB: converted in {convert.Elapsed.TotalSeconds:0.00} s (with start-up), copied, flushed and read in {copy.Elapsed.TotalSeconds:0.00} s, peak {peak / 1000.0:0} MB");
        peak.Should().BeInRange(1, MostKilobytes);
        using var sae = SaeFile.Open(_folder.File("sae.gguf"));
        var row = new float[D];
        sae.ReadEncoder(Width - 1, row);
        row.Should().Equal(Enumerable.Range(0, D).Select(i => Value(((long)i * Width) + Width - 1)));
        sae.ReadDecoder(7, row);
        row.Should().Equal(Enumerable.Range(0, D).Select(i => Value((7L * D) + i)));
    }

    private static long PeakKilobytes(Process process)
    {
        if (!OperatingSystem.IsLinux())
        {
            return process.HasExited ? 0 : process.PeakWorkingSet64 / 1000;
        }

        try
        {
            // "VmHWM:   123456 kB"; gone once the process has ended.
            var line = File.ReadLines($"/proc/{process.Id}/status").FirstOrDefault(l => l.StartsWith("VmHWM", StringComparison.Ordinal));
            return line is null ? 0 : long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return 0;
        }
    }

    private void CopyAndRead(string input)
    {
        var copied = _folder.File("copy");
        using (FileStream from = File.OpenRead(input), to = File.Create(copied))
        {
            from.CopyTo(to, 1 << 20);
            to.Flush(flushToDisk: true);
        }

        var buffer = new byte[1 << 20];
        using (var from = File.OpenRead(input))
        {
            while (from.Read(buffer) > 0)
            {
            }
        }

        File.Delete(copied);
    }

    /// <summary>Entry i of a matrix: a hash, so that a test can ask for any of them.</summary>
    private static float Value(long i) => ((((uint)i * 2654435761u) >> 8) / 8388608f) - 1;

    private static void WriteNpz(string path)
    {
        using var archive = new ZipArchive(File.Create(path), ZipArchiveMode.Create);
        Matrix("W_enc", D, Width);
        Matrix("W_dec", Width, D);
        Array("b_enc", $"({Width},)", new float[Width]);
        Array("b_dec", $"({D},)", new float[D]);
        Array("threshold", $"({Width},)", new float[Width]);

        void Matrix(string name, int rows, int columns)
        {
            using var stream = Open(name, $"({rows}, {columns})");
            var row = new float[columns];
            for (long r = 0; r < rows; r++)
            {
                for (var c = 0; c < columns; c++)
                {
                    row[c] = Value((r * columns) + c);
                }

                stream.Write(MemoryMarshal.AsBytes(row.AsSpan()));
            }
        }

        void Array(string name, string shape, float[] values)
        {
            using var stream = Open(name, shape);
            stream.Write(MemoryMarshal.AsBytes(values.AsSpan()));
        }

        Stream Open(string name, string shape)
        {
            var stream = archive.CreateEntry(name + ".npy", CompressionLevel.NoCompression).Open();
            stream.Write([0x93, .. "NUMPY"u8, 1, 0, 118, 0]);
            stream.Write(Encoding.ASCII.GetBytes($"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".PadRight(117) + "\n"));
            return stream;
        }
    }
}

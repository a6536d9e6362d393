using System.Buffers.Binary;
using YaPO.Llama;
using YaPO.Llama.Gguf;

namespace YaPO.Llama.Tests.Gguf;

public sealed class GgufFileTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("yapo-gguf-ä-");

    public void Dispose() => _folder.Delete(recursive: true);

    private string Save(GgufWriter writer, string name = "x.gguf")
    {
        var path = Path.Combine(_folder.FullName, name);
        writer.Save(path);
        return path;
    }

    private string Bytes(byte[] bytes)
    {
        var path = Path.Combine(_folder.FullName, "bytes.gguf");
        File.WriteAllBytes(path, bytes);
        return path;
    }

    internal static GgufWriter Sample() => new GgufWriter()
        .Set("general.architecture", "sample").Set("a.string", "Käse").Set("a.u32", 7u).Set("a.i32", -7).Set("a.u64", ulong.MaxValue)
        .Set("a.float", 1.5f).Set("a.bool", true).Set("a.strings", ["eins", "", "drei"]).Set("a.floats", [1f, -2f]).Set("a.ints", [1, -2, 3])
        .AddTensor("matrix", GgmlType.F32, [3, 2], new float[] { 1, 2, 3, 4, 5, 6 })
        .AddTensor("half", GgmlType.F16, [5], new float[] { 0, 1, -1, 0.5f, 65504 })
        .AddTensor("brain", GgmlType.BF16, [2], new float[] { 1, -3e38f })
        .AddTensor("q8", GgmlType.Q8_0, [32, 2], Enumerable.Range(-32, 64).Select(i => i * 0.25f).ToArray())
        .AddTensor("index", [4], new int[] { 4, 3, 2, int.MaxValue });

    [Fact]
    public void Open_WrittenFile_ReadsEverythingBack()
    {
        using var file = GgufFile.Open(Save(Sample()));

        file.Version.Should().Be(3);
        file.Architecture.Should().Be("sample");
        file.Metadata.Keys.Should().Equal("general.architecture", "a.string", "a.u32", "a.i32", "a.u64", "a.float", "a.bool", "a.strings", "a.floats", "a.ints");
        file.Metadata.GetString("a.string").Should().Be("Käse");
        file.Metadata.GetUInt32("a.u32").Should().Be(7);
        file.Metadata["a.i32"].Data.Should().Be(-7);
        file.Metadata.GetUInt64("a.u64").Should().Be(ulong.MaxValue);
        file.Metadata.GetFloat("a.float").Should().Be(1.5f);
        file.Metadata.GetBool("a.bool").Should().BeTrue();
        file.Metadata.GetStrings("a.strings").Should().Equal("eins", "", "drei");
        file.Metadata["a.floats"].Data.Should().BeEquivalentTo(new[] { 1f, -2f });
        file.Metadata["a.ints"].Data.Should().BeEquivalentTo(new[] { 1, -2, 3 });
        file.ReadFloats(file.RequireTensor("matrix", [3, 2], GgmlType.F32)).Should().Equal(1, 2, 3, 4, 5, 6);
        file.ReadFloats(file.RequireTensor("half")).Should().Equal(0, 1, -1, 0.5f, 65504);
        file.ReadFloats(file.RequireTensor("brain"))[0].Should().Be(1);
        file.ReadInt32(file.RequireTensor("index")).Should().Equal(4, 3, 2, int.MaxValue);
        var row = new float[32];
        file.ReadRows(file.RequireTensor("q8"), 1, row);
        row.Should().Equal(Enumerable.Range(0, 32).Select(i => MathF.Round(i * 0.25f * (127 / 7.75f)) * (float)(Half)(7.75f / 127)));
    }

    [Fact]
    public void Save_SameInput_SameBytes() =>
        File.ReadAllBytes(Save(Sample(), "1.gguf")).Should().Equal(File.ReadAllBytes(Save(Sample(), "2.gguf")));

    [Fact]
    public void Save_DataShorterThanShape_ThrowsAndLeavesNoFile()
    {
        var writer = new GgufWriter().AddTensor("x", GgmlType.F32, [4], s => s.Write(new byte[15]));

        FluentActions.Invoking(() => Save(writer)).Should().Throw<InvalidOperationException>().WithMessage("*'x' takes 16 bytes, 15*");
        _folder.GetFiles().Should().BeEmpty();
    }

    [Fact]
    public void Save_FolderMissing_IsAnIoError() =>
        FluentActions.Invoking(() => Save(Sample(), "no/such/x.gguf")).Should().Throw<YapoException>().Which.Kind.Should().Be(YapoErrorKind.Io);

    [Theory]
    [InlineData("a.string", "must be an integer, found str")]
    [InlineData("a.i32", "must be u32, found i32 -7")]
    [InlineData("a.u64", "must be u32, found u64 18446744073709551615")]
    public void GetUInt32_OtherType_NamesKeyExpectedAndFound(string key, string message)
    {
        using var file = GgufFile.Open(Save(Sample()));

        file.Invoking(f => f.Metadata.GetUInt32(key)).Should().Throw<YapoException>().WithMessage($"*'{key}' {message}*");
    }

    [Fact]
    public void RequireTensor_WrongShape_NamesBoth()
    {
        using var file = GgufFile.Open(Save(Sample()));

        file.Invoking(f => f.RequireTensor("matrix", [2, 3])).Should().Throw<YapoException>().WithMessage("*'matrix' has shape [3, 2], expected [2, 3]*");
        file.Invoking(f => f.RequireTensor("index", [4], GgmlType.F32)).Should().Throw<YapoException>().WithMessage("*has type I32, expected F32*");
        file.Invoking(f => f.RequireTensor("none")).Should().Throw<YapoException>().WithMessage("*'none' is missing*");
    }

    [Fact]
    public void Open_EveryTruncation_IsRefused()
    {
        var stream = new MemoryStream();
        Sample().Write(stream);
        var bytes = stream.ToArray();
        var last = 0;
        // The file ends with padding after the last tensor's 16 bytes; without the padding it is still whole.
        for (var n = 0; n < bytes.Length; n++)
        {
            try
            {
                using var file = GgufFile.Open(Bytes(bytes[..n]));
                last = n;
                break;
            }
            catch (YapoException e)
            {
                e.Kind.Should().Be(YapoErrorKind.Format);
            }
        }

        last.Should().Be(bytes.Length - 16);
    }

    [Fact]
    public void Open_NotThere_SaysSo()
    {
        FluentActions.Invoking(() => GgufFile.Open("/no/such/file.gguf")).Should().Throw<YapoException>()
            .Where(e => e.Kind == YapoErrorKind.Io).WithMessage("*/no/such/file.gguf*no such file*");
        FluentActions.Invoking(() => GgufFile.Open(_folder.FullName)).Should().Throw<YapoException>().WithMessage("*folder*");
    }

    [Fact]
    public void Open_DuplicateKeyOrTensor_IsRefused()
    {
        var stream = new MemoryStream();
        new GgufWriter().Set("key.one", 1u).Set("key.two", 2u).AddTensor("t1", GgmlType.F32, [8], new float[8]).AddTensor("t2", GgmlType.F32, [8], new float[8]).Write(stream);
        var bytes = stream.ToArray();

        FluentActions.Invoking(() => GgufFile.Open(Bytes(Replace(bytes, "key.two", "key.one")))).Should().Throw<YapoException>().WithMessage("*'key.one' appears twice*");
        FluentActions.Invoking(() => GgufFile.Open(Bytes(Replace(bytes, "t2", "t1")))).Should().Throw<YapoException>().WithMessage("*'t1' appears twice*");
    }

    [Fact]
    public void Open_OverlappingTensors_AreRefused()
    {
        var stream = new MemoryStream();
        new GgufWriter().AddTensor("t1", GgmlType.F32, [8], new float[8]).AddTensor("t2", GgmlType.F32, [8], new float[8]).Write(stream);
        var bytes = stream.ToArray();
        var info = bytes.AsSpan().IndexOf("t2"u8) + 2;
        BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(info + 4 + 8 + 4), 0);

        FluentActions.Invoking(() => GgufFile.Open(Bytes(bytes))).Should().Throw<YapoException>().WithMessage("*overlaps*");
    }

    [Fact]
    public void Open_HugeCounts_AreRefusedWithoutAllocating()
    {
        foreach (var offset in new[] { 8, 16 })
        {
            var stream = new MemoryStream();
            Sample().Write(stream);
            var bytes = stream.ToArray();
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(offset), ulong.MaxValue / 2);
            FluentActions.Invoking(() => GgufFile.Open(Bytes(bytes))).Should().Throw<YapoException>().WithMessage("*cannot hold*");
        }
    }

    [Theory]
    [InlineData(GgmlType.F16)]
    [InlineData(GgmlType.BF16)]
    [InlineData(GgmlType.Q8_0)]
    public void RowCodec_RoundTrip_StaysWithinTheTypesRounding(GgmlType type)
    {
        var random = new Random(1);
        var values = Enumerable.Range(0, 4096).Select(_ => (float)((random.NextDouble() - 0.5) * Math.Pow(10, random.Next(-3, 4)))).ToArray();
        var (elements, size) = GgmlTypes.Block(type);
        var bytes = new byte[values.Length / elements * size];
        var back = new float[values.Length];

        RowCodec.Encode(type, values, bytes);
        RowCodec.Decode(type, bytes, back);

        for (var i = 0; i < values.Length; i++)
        {
            var block = values.AsSpan(i / 32 * 32, 32).ToArray().Max(Math.Abs);
            var allowed = type switch
            {
                GgmlType.F16 => Math.Abs(values[i]) / 2048 + 3e-8,
                GgmlType.BF16 => Math.Abs(values[i]) / 256,
                _ => block / 127 * 0.5 + (block / 2048), // half a step, and the step itself is rounded to F16
            };
            Math.Abs(back[i] - values[i]).Should().BeLessThanOrEqualTo((float)allowed, $"element {i}");
        }
    }

    private static byte[] Replace(byte[] bytes, string from, string to)
    {
        var copy = bytes.ToArray();
        System.Text.Encoding.UTF8.GetBytes(to).CopyTo(copy, copy.AsSpan().IndexOf(System.Text.Encoding.UTF8.GetBytes(from)));
        return copy;
    }
}

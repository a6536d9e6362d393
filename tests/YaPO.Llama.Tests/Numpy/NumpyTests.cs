using System.IO.Compression;
using YaPO.Llama.Numpy;
using YaPO.Llama.Tensors;
using YaPO.Llama.Zip;

namespace YaPO.Llama.Tests.Numpy;

/// <summary>The golden files were written by NumPy itself: see Golden/make_golden.py.</summary>
public sealed class NumpyTests : IDisposable
{
    private static readonly float[] Expected = [-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    internal static string Golden(string name) => Path.Combine(AppContext.BaseDirectory, "Numpy", "Golden", name);

    [Theory]
    [InlineData("f4_c.npy", TensorType.F32, false)]
    [InlineData("f2_f.npy", TensorType.F16, true)]
    public void Npy_MatrixOfNumPy_ReadsInCOrder(string name, TensorType type, bool fortran)
    {
        using var npy = NpyReader.Open(Golden(name));
        using var array = npy.OpenTensor("");

        array.Info.Type.Should().Be(type);
        array.Info.FortranOrder.Should().Be(fortran);
        array.Info.Shape.Should().Equal(2, 3);
        array.ReadAll().Should().Equal(Expected);
    }

    [Fact]
    public void Npy_Doubles_AreRoundedToFloat()
    {
        using var npy = NpyReader.Open(Golden("f8_1d.npy"));

        npy.Read("").Should().Equal(0.1f, float.NegativeInfinity, 3f);
    }

    [Theory]
    [InlineData("object.npy", "*Python objects*pickle*refused*")]
    [InlineData("int.npy", "*dtype '<i8' is not supported*")]
    [InlineData("big_endian.npy", "*dtype '>f4' is not supported*")]
    [InlineData("structured.npy", "*structured*")]
    public void Npy_OtherTypes_AreRefused(string name, string message) =>
        FluentActions.Invoking(() => NpyReader.Open(Golden(name))).Should().Throw<YapoException>()
            .Where(e => e.Kind == YapoErrorKind.Unsupported).WithMessage(message);

    [Fact]
    public void Npy_EveryTruncation_IsRefused()
    {
        var bytes = File.ReadAllBytes(Golden("f4_c.npy"));
        for (var n = 0; n < bytes.Length; n++)
        {
            var path = _folder.Write("cut.npy", bytes[..n]);
            FluentActions.Invoking(() => NpyReader.Open(path)).Should().Throw<YapoException>().Which.Kind.Should().Be(YapoErrorKind.Format);
        }
    }

    [Theory]
    [InlineData("stored.npz")]
    [InlineData("deflate.npz")]
    [InlineData("zip64.npz")]
    public void Npz_OfNumPy_ReadsEachArray(string name)
    {
        using var npz = NpzReader.Open(Golden(name));

        npz.Names.Should().Equal("first", "second");
        npz.Info("first").Shape.Should().Equal(2, 3);
        using var first = npz.OpenTensor("first", _folder.Path);
        using var second = npz.OpenTensor("second", _folder.Path);
        first.ReadAll().Should().Equal(Expected);
        second.ReadAll().Should().Equal(name == "deflate.npz" ? new float[5000] : [7, 8]);
        var part = new float[2];
        first.Read(2, part);
        part.Should().Equal(name == "deflate.npz" ? [-1.5f, 1.5f] : [-0.5f, 0.5f], "parts come in stored order, and that file is in Fortran order");
    }

    [Fact]
    public void Npz_TemporaryFiles_VanishWithTheArray()
    {
        using var npz = NpzReader.Open(Golden("deflate.npz"));
        using (npz.OpenTensor("first", _folder.Path))
        {
            Directory.GetFiles(_folder.Path).Should().ContainSingle();
        }

        Directory.GetFiles(_folder.Path).Should().BeEmpty();
    }

    [Fact]
    public void Npz_UnknownArray_ListsWhatThereIs()
    {
        using var npz = NpzReader.Open(Golden("stored.npz"));

        npz.Invoking(n => n.OpenTensor("third")).Should().Throw<YapoException>().WithMessage("*no array 'third', but first, second*");
    }

    [Theory]
    [InlineData("stored.npz")]
    [InlineData("deflate.npz")]
    public void Npz_FlippedDataBit_IsFoundByTheCrc(string name)
    {
        var bytes = File.ReadAllBytes(Golden(name));
        bytes[bytes.AsSpan().IndexOf("first.npy"u8) + 9 + (name == "stored.npz" ? 148 : 80)] ^= 1;
        var path = _folder.Write("damaged.npz", bytes);

        FluentActions.Invoking(() =>
        {
            using var npz = NpzReader.Open(path);
            npz.OpenTensor("first", _folder.Path).Dispose();
        }).Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Format);
        Directory.GetFiles(_folder.Path).Should().ContainSingle("the temporary file is gone");
    }

    [Fact]
    public void Npz_MemberLargerThanItsHeaderDeclares_IsRefused()
    {
        var path = _folder.File("bomb.npz");
        using (var zip = new ZipArchive(File.Create(path), ZipArchiveMode.Create))
        {
            using var entry = zip.CreateEntry("x.npy", CompressionLevel.SmallestSize).Open();
            entry.Write(File.ReadAllBytes(Golden("f4_c.npy")));
            entry.Write(new byte[1 << 22]);
        }

        using var npz = NpzReader.Open(path);
        npz.Invoking(n => n.OpenTensor("x", _folder.Path)).Should().Throw<YapoException>().WithMessage("*shape (2, 3) takes 24 bytes*the member has 4[,.]?194[,.]?328*".Replace("[,.]?", "*", StringComparison.Ordinal));
    }

    [Fact]
    public void Npz_NoZip_IsRefused() =>
        FluentActions.Invoking(() => NpzReader.Open(Golden("f4_c.npy"))).Should().Throw<YapoException>().WithMessage("*no ZIP file*");

    [Fact]
    public void Crc32_KnownValue() => Crc32.Finish(Crc32.Append(Crc32.Append(Crc32.Start, "1234"u8), "56789"u8)).Should().Be(0xCBF43926);
}

using YaPO.Llama.Safetensors;
using YaPO.Llama.Tensors;
using YaPO.Llama.Tests.Tensors;

namespace YaPO.Llama.Tests.Safetensors;

public sealed class SafetensorsTests : IDisposable
{
    private static readonly float[] Values = [-2.5f, -1.25f, 0, 0.375f, 1, 3];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Open_EveryFloatType_ReadsExactlyWhatIsStored()
    {
        TestTensor[] tensors = [new("a", [2, 3], Values, TensorType.BF16), new("b.c", [6], Values, TensorType.F64), new("größe", [1, 6], Values, TensorType.F16), new("s", [], [7])];
        using var source = TensorFile.Open(_folder.Write("x.safetensors", TensorWriter.Safetensors(tensors, """{"format":"pt"}""")));

        source.Should().BeOfType<SafetensorsReader>();
        source.Names.Should().Equal("a", "b.c", "größe", "s");
        source.Metadata.Should().Equal(new Dictionary<string, string> { ["format"] = "pt" });
        foreach (var t in tensors)
        {
            source.Read(t.Name).Should().Equal(t.Stored());
            (source.Info(t.Name).Type, source.Info(t.Name).FortranOrder).Should().Be((t.Type, false));
            source.Info(t.Name).Shape.Should().Equal(t.Shape);
        }

        using var data = source.OpenTensor("b.c");
        var part = new float[2];
        data.Read(3, part);
        part.Should().Equal(0.375f, 1);
        source.Invoking(s => s.Read("none")).Should().Throw<YapoException>().WithMessage("*no array 'none', but a, b.c*");
        source.Invoking(s => s.OnlyName()).Should().Throw<YapoException>().WithMessage("*holds 4 arrays*");
    }

    [Fact]
    public void Read_Integers_IsRefused()
    {
        using var source = SafetensorsReader.Open(_folder.Write("x.safetensors", TensorWriter.Safetensors([new("n", [2], [1, 2], TensorType.I64)])));

        source.Info("n").Type.Should().Be(TensorType.I64);
        source.Invoking(s => s.Read("n")).Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Unsupported).WithMessage("*'n' holds I64*");
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "*tensor 'b' starts at byte 4, expected 8*")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "*starts at byte 4, expected 0*")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 8, "*take 4 bytes, the file has 8*")]
    [InlineData("""{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "*takes 12 bytes, its data_offsets are*0, 8*")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}""", 0, "*too large*")]
    [InlineData("""{"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}}""", 0, "*too large*")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}""", 4, "*-1 is no size*")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}""", 4, "*1.5 is no size*")]
    [InlineData("""{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}}""", 4, "*unknown dtype 'F4'*")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1]}}""", 4, "*lacks dtype, shape or data_offsets*")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 4, "*no valid JSON*")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"data_offsets":[0,4]}}""", 4, "*no valid JSON*")]
    [InlineData("""{"__metadata__":{"a":1}}""", 0, "*'a' is no string*")]
    [InlineData("""[1]""", 0, "*no JSON object*")]
    [InlineData("""{"a":""", 0, "*no valid JSON*")]
    public void Open_HeaderThatCannotBeRight_IsRefused(string header, int dataBytes, string message) =>
        FluentActions.Invoking(() => SafetensorsReader.Open(_folder.Write("x.safetensors", TensorWriter.SafetensorsBytes(header, new byte[dataBytes]))))
            .Should().Throw<YapoException>().WithMessage(message);

    [Fact]
    public void Open_EveryTruncation_IsRefused()
    {
        var bytes = TensorWriter.Safetensors([new("a", [2, 3], Values)]);
        for (var n = 0; n < bytes.Length; n++)
        {
            FluentActions.Invoking(() => SafetensorsReader.Open(_folder.Write("cut.safetensors", bytes[..n]))).Should().Throw<YapoException>().Which.Kind.Should().Be(YapoErrorKind.Format);
        }
    }

    [Fact]
    public void TensorFile_UnknownContent_SaysWhatIsExpected() =>
        FluentActions.Invoking(() => TensorFile.Open(_folder.Write("x.bin", "hello, world"))).Should().Throw<YapoException>()
            .Where(e => e.Kind == YapoErrorKind.Unsupported).WithMessage("*.npy, .npz, .safetensors or PyTorch*");
}

using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using YaPO.Llama.Pytorch;
using YaPO.Llama.Steering;
using YaPO.Llama.Tensors;
using YaPO.Llama.Tests.Fuzz;
using YaPO.Llama.Tests.Tensors;
using YaPO.Llama.Tests.Python;

namespace YaPO.Llama.Tests.Pytorch;

/// <summary>The golden files were written by PyTorch itself: see Golden/make_golden.py.</summary>
public sealed class PytorchTests : IDisposable
{
    private static readonly float[] Vector = [-2.5f, 0, 0.375f, 3];
    private static readonly float[] Matrix = [-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f];

    private readonly TemporaryFolder _folder = new(inMemory: true);

    public void Dispose() => _folder.Dispose();

    internal static string Golden(string name) => Path.Combine(AppContext.BaseDirectory, "Pytorch", "Golden", name);

    [Theory]
    [InlineData("vector_f32.pt", TensorType.F32)]
    [InlineData("vector_f16.pt", TensorType.F16)]
    [InlineData("vector_bf16.pt", TensorType.BF16)]
    [InlineData("vector_f64.pt", TensorType.F64)]
    [InlineData("parameter.pt", TensorType.F32)]
    public void Open_BareTensorOfPyTorch_IsTheOnlyOne(string name, TensorType type)
    {
        using var source = TensorFile.Open(Golden(name));

        source.Should().BeOfType<PytorchReader>();
        source.OnlyName().Should().BeEmpty();
        source.Info("").Type.Should().Be(type);
        source.Info("").Shape.Should().Equal(4);
        source.Read("").Should().Equal(Vector);
        VectorImport.ReadArray(Golden(name)).Should().Equal(Vector);
    }

    [Fact]
    public void Open_DictionaryOfPyTorch_NamesItsTensorsAndKeepsPlainValues()
    {
        using var source = TensorFile.Open(Golden("dictionary.pt"));

        source.Names.Should().Equal("W", "b", "nested.t", "list.0", "7");
        source.Read("W").Should().Equal(Matrix);
        source.Read("b").Should().Equal(Vector);
        source.Read("list.0").Should().Equal(Vector);
        source.Read("7").Should().Equal(Vector);
        source.Info("nested.t").Shape.Should().Equal(3, 2);
        source.Info("nested.t").FortranOrder.Should().BeTrue("a transposed view keeps its storage");
        source.Read("nested.t").Should().Equal(-2.5f, 0.5f, -1.5f, 1.5f, -0.5f, 2.5f);
        source.Metadata.Should().Contain(new KeyValuePair<string, string>("k", "50"), new("name", "größe"), new("list.1", "1.5"), new("list.3", "-3"), new("list.4", "1099511627776"));
    }

    [Theory]
    [InlineData("ordered.pt", "x,y")]
    [InlineData("state_dict.pt", "weight,bias")]
    public void Open_OrderedDict_ReadsAsDictionary(string name, string expected)
    {
        using var source = TensorFile.Open(Golden(name));

        string.Join(',', source.Names).Should().Be(expected);
        source.Names.Should().AllSatisfy(n => source.Read(n).Should().OnlyContain(x => float.IsFinite(x)));
    }

    [Fact]
    public void Open_ViewsOfOneStorage_ReadTheirOwnPart()
    {
        using var source = TensorFile.Open(Golden("shared_storage.pt"));

        source.Read("0").Should().Equal(4, 5, 6, 7);
        source.Read("1").Should().Equal(4, 5, 6, 7);
    }

    [Theory]
    [InlineData("strided.pt", "*strides (4)*contiguous()*")]
    [InlineData("module.pt", "*'torch.nn.modules.linear.Linear'*refused*")]
    [InlineData("function.pt", "*'posix.system'*refused*")]
    [InlineData("legacy.pt", "*before 1.6*torch.save*")]
    public void Open_WhatCannotBeReadSafely_IsRefusedByName(string name, string message) =>
        FluentActions.Invoking(() => TensorFile.Open(Golden(name))).Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Unsupported).WithMessage(message);

    [Fact]
    public void Read_Integers_IsRefused()
    {
        using var source = TensorFile.Open(Golden("integers.pt"));

        (source.Info("n").Type, source.Info("flag").Type).Should().Be((TensorType.I64, TensorType.Bool));
        source.Invoking(s => s.Read("n")).Should().Throw<YapoException>().WithMessage("*I64*");
    }

    [PythonFact(torch: true)]
    public void Open_WhatPyTorchWritesNow_ReadsLikeTheGoldenFiles()
    {
        PythonFactAttribute.Run(torch: true, Golden("make_golden.py"), _folder.Path);

        foreach (var golden in Directory.GetFiles(Golden(""), "*.pt"))
        {
            Read(_folder.File(Path.GetFileName(golden))).Should().Be(Read(golden), golden);
        }

        static string Read(string path)
        {
            try
            {
                using var source = TensorFile.Open(path);
                return string.Join('\n', source.Names.Select(n => $"{n} {source.Info(n)} {(source.Info(n).Type.IsReadable() ? string.Join(' ', source.Read(n)) : "")}"))
                    + string.Join('\n', source.Metadata);
            }
            catch (YapoException e)
            {
                return e.Kind + e.Message[path.Length..];
            }
        }
    }

    [Theory]
    [InlineData("cos\nsystem\n(X\u0004\0\0\0echotR.", "*os.system*refused*")]
    [InlineData("cbuiltins\neval\n.", "*builtins.eval*refused*")]
    [InlineData("(ios\nsystem\n.", "*opcode INST*refused*")]
    [InlineData("X\u0001\0\0\0aX\u0001\0\0\0b\u0093.", "*opcode STACK_GLOBAL*refused*")]
    [InlineData(")\u0081.", "*opcode NEWOBJ*refused*")]
    [InlineData("\u0082\u0001.", "*opcode EXT1*refused*")]
    [InlineData("P1\n.", "*opcode PERSID*refused*")]
    [InlineData("\u00ff.", "*opcode 0xff*refused*")]
    [InlineData("\u0095\0\0\0\0\0\0\0\0.", "*opcode FRAME*refused*")]
    [InlineData("ccollections\nOrderedDict\nN\u0085R.", "*arguments that PyTorch does not write*")]
    [InlineData("ctorch._utils\n_rebuild_tensor_v2\n)R.", "*arguments that PyTorch does not write*")]
    [InlineData("K\u0001K\u0002.", "*exactly one value*")]
    [InlineData("h\u0001.", "*used before it is made*")]
    [InlineData("a.", "*value is missing*")]
    [InlineData("K\u0001(a.", "*value is missing*")]
    [InlineData("t.", "*MARK is missing*")]
    [InlineData("X\u00ff\u00ff\u00ff\u00ffa.", "*too long*")]
    [InlineData("K", "*ends too early*")]
    [InlineData("N.N", "*exactly one value*")]
    public void Pickle_OutsideTheList_IsRefused(string pickle, string message)
    {
        var path = _folder.Write("x.pt", TensorWriter.PtArchive([0x80, 2, .. Encoding.Latin1.GetBytes(pickle)]));

        FluentActions.Invoking(() => PytorchReader.Open(path)).Should().Throw<YapoException>().WithMessage(message);
    }

    [Fact]
    public void Pickle_OtherProtocol_IsRefused() =>
        FluentActions.Invoking(() => PytorchReader.Open(_folder.Write("x.pt", TensorWriter.PtArchive([0x80, 4, (byte)'N', (byte)'.'])))).Should().Throw<YapoException>().WithMessage("*protocol 4, expected 2*");

    [Fact]
    public void Pickle_ContainerInItselfOrDoubledManyTimes_EndsQuickly()
    {
        // l = []; l.append(l), and lists of two references to the list before: 2^30 entries if someone walked them all.
        var cycle = "]q\0h\0a."u8.ToArray();
        FluentActions.Invoking(() => PytorchReader.Open(_folder.Write("x.pt", TensorWriter.PtArchive([0x80, 2, .. cycle])))).Should().Throw<YapoException>().WithMessage("*nested deeper*");

        // Tuples of twice the tuple before, 17 deep at least: 2^17 entries if someone walked them all.
        byte[] bomb = [(byte)'N', (byte)'q', 0, .. Enumerable.Range(0, 16).SelectMany(i => (byte[])[(byte)'h', (byte)i, 0x86, (byte)'q', (byte)(i + 1)]), (byte)'.'];
        FluentActions.Invoking(() => PytorchReader.Open(_folder.Write("x.pt", TensorWriter.PtArchive([0x80, 2, .. bomb])))).Should().Throw<YapoException>().WithMessage("*more than*entries*");
    }

    [PythonFact(torch: true)]
    public void Pickle_DamagedButAccepted_HoldsWhatPyTorchReads()
    {
        var mutator = new Mutator(27);
        var accepted = 0;
        foreach (var golden in (string[])["vector_f32.pt", "dictionary.pt", "state_dict.pt", "shared_storage.pt", "parameter.pt"])
        {
            var pickle = Pickle(File.ReadAllBytes(Golden(golden)));
            for (var i = 0; i < 600; i++)
            {
                var path = _folder.File($"{accepted}.pt");
                WithPickle(Golden(golden), path, mutator.Mutate(pickle));
                try
                {
                    using var source = TensorFile.Open(path);
                    File.WriteAllText(Path.ChangeExtension(path, ".txt"), string.Concat(source.Names.Where(n => source.Info(n).Type.IsReadable()).Select(n =>
                        $"{n}\u001f{string.Join(',', source.Info(n).Shape)}\u001f{Convert.ToHexStringLower(MemoryMarshal.AsBytes(source.Read(n).AsSpan()))}\u001e")));
                    accepted++;
                }
                catch (YapoException)
                {
                    File.Delete(path);
                }
            }
        }

        // Only files without any name beyond the list get here, so PyTorch may load them.
        PythonFactAttribute.Run(torch: true, Golden("compare.py"), _folder.Path);
    }

    [Fact]
    public void Open_StorageThatDoesNotFit_IsRefused()
    {
        var valid = TensorWriter.Pt(new TestTensor("v", [4], Vector));
        using (var source = PytorchReader.Open(_folder.Write("v.pt", valid)))
        {
            source.Read("v").Should().Equal(Vector);
        }

        // One element less in the archive than the pickle says; then a shape that reaches beyond the storage; then no data at all.
        var pickle = Pickle(valid);
        Refused(TensorWriter.PtArchive(pickle, new TestTensor("v", [3], [1, 2, 3])), "*12 bytes*expected 4 stored elements of F32*");
        Refused(TensorWriter.PtArchive(pickle), "*no member data/0*");
        var wide = pickle.ToArray();
        wide[wide.AsSpan().LastIndexOf("J\u0004\0\0\0"u8) + 1] = 5;
        Refused(TensorWriter.PtArchive(wide, new TestTensor("v", [4], Vector)), "*starts at element 0 of a storage of 4*");

        void Refused(byte[] bytes, string message) =>
            FluentActions.Invoking(() => PytorchReader.Open(_folder.Write("x.pt", bytes))).Should().Throw<YapoException>().WithMessage(message);
    }

    [Fact]
    public void Read_FlippedDataBit_IsFoundByTheCrc()
    {
        var bytes = TensorWriter.Pt(new TestTensor("v", [4], Vector));
        bytes[bytes.AsSpan().IndexOf(new TestTensor("v", [4], Vector).Bytes())] ^= 1;
        using var source = PytorchReader.Open(_folder.Write("x.pt", bytes));

        source.Invoking(s => s.Read("v")).Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Format).WithMessage("*CRC-32*");
    }

    private static byte[] Pickle(byte[] archive)
    {
        using var zip = new ZipArchive(new MemoryStream(archive));
        using var entry = zip.Entries.Single(e => e.Name == "data.pkl").Open();
        var bytes = new MemoryStream();
        entry.CopyTo(bytes);
        return bytes.ToArray();
    }

    /// <summary>Copies an archive with another pickle in it.</summary>
    private static void WithPickle(string archive, string copy, byte[] pickle)
    {
        using var from = ZipFile.OpenRead(archive);
        using var to = new ZipArchive(File.Create(copy), ZipArchiveMode.Create);
        foreach (var entry in from.Entries)
        {
            using var stream = to.CreateEntry(entry.FullName, CompressionLevel.NoCompression).Open();
            if (entry.Name == "data.pkl")
            {
                stream.Write(pickle);
                continue;
            }

            using var content = entry.Open();
            content.CopyTo(stream);
        }
    }
}

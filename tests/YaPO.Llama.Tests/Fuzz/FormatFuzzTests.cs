using System.IO.Compression;
using YaPO.Llama.Datasets;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Tensors;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Gguf;
using YaPO.Llama.Tests.Numpy;
using YaPO.Llama.Tests.Pytorch;
using YaPO.Llama.Tests.Steering;
using YaPO.Llama.Tests.Tensors;

namespace YaPO.Llama.Tests.Fuzz;

/// <summary>Damaged files of every format, thousands of each; see <see cref="FuzzRun"/>. What is accepted is compared with a second, independent reading where one is possible.</summary>
public sealed class FormatFuzzTests : IDisposable
{
    private readonly TemporaryFolder _folder = new(inMemory: true);

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Gguf_Damaged_GivesOnlyClearErrors() => Fuzz(11, Bytes(GgufFileTests.Sample()), "x.gguf", path =>
    {
        using var file = GgufFile.Open(path);
        foreach (var tensor in file.Tensors)
        {
            if (RowCodec.Supports(tensor.Type))
            {
                Assert.Equal(tensor.Elements, file.ReadFloats(tensor).LongLength);
            }
            else
            {
                Assert.Equal(tensor.Bytes, file.ReadBytes(tensor).LongLength);
            }
        }
    });

    [Fact]
    public void SteeringFile_Damaged_GivesOnlyClearErrors()
    {
        SampleVectors.File(SampleVectors.Sparse(), SampleVectors.Dense()).Save(_folder.File("valid.ysv"));
        Fuzz(12, File.ReadAllBytes(_folder.File("valid.ysv")), "x.ysv", path =>
            Assert.All(SteeringFile.Load(path).Vectors, v => Assert.True(v.Value.All(float.IsFinite) && v.Dec.All(float.IsFinite))));
    }

    [Fact]
    public void ControlVector_Damaged_GivesOnlyClearErrors() => Fuzz(
        13,
        Bytes(new GgufWriter().Set("general.architecture", "controlvector").AddTensor("direction.1", GgmlType.F32, [4], new float[4]).AddTensor("direction.2", GgmlType.F32, [4], new float[4])),
        "x.gguf", path => SteeringFile.Load(path));

    [Fact]
    public void Sae_Damaged_GivesOnlyClearErrors()
    {
        SaeConverter.Convert(new SaeConvertOptions(NumpyTests.Golden("sae.npz"), _folder.File("valid.gguf")) { Layer = 3 });
        Fuzz(14, File.ReadAllBytes(_folder.File("valid.gguf")), "x.gguf", path =>
        {
            using var sae = SaeFile.Open(path);
            sae.ReadEncoder();
            VectorBuilder.FromFeatures(sae, [new FeatureSpec(0, 1)], "x");
        });
    }

    [Fact]
    public void Model_Damaged_GivesOnlyClearErrors() => Fuzz(15, Bytes(ModelFingerprintTests.Model()), "x.gguf", path => Assert.Equal(64, ModelFingerprint.Compute(path).Fingerprint.Length));

    [Theory]
    [InlineData("f4_c.npy")]
    [InlineData("f2_f.npy")]
    public void Npy_Damaged_GivesOnlyClearErrors(string golden) => Fuzz(16, File.ReadAllBytes(NumpyTests.Golden(golden)), "x.npy", path =>
    {
        ReadTensors(path);
        SecondReading.CheckNpy(path);
    });

    [Theory]
    [InlineData("stored.npz")]
    [InlineData("deflate.npz")]
    [InlineData("zip64.npz")]
    public void Npz_Damaged_GivesOnlyClearErrors(string golden) => Fuzz(17, File.ReadAllBytes(NumpyTests.Golden(golden)), "x.npz", ReadTensors);

    [Fact]
    public void Npz_ValidZipOfDamagedArrays_GivesOnlyClearErrors()
    {
        // The CRC stops most of the above, so here the archive is right and only the array in it is damaged.
        Fuzz(18, File.ReadAllBytes(NumpyTests.Golden("f4_c.npy")), "x.npz", path =>
        {
            var npy = File.ReadAllBytes(path);
            using (var zip = new ZipArchive(File.Create(path), ZipArchiveMode.Create))
            {
                using var entry = zip.CreateEntry("x.npy", npy.Length % 2 == 0 ? CompressionLevel.Fastest : CompressionLevel.NoCompression).Open();
                entry.Write(npy);
            }

            ReadTensors(path);
        });
    }

    [Fact]
    public void Safetensors_Damaged_GivesOnlyClearErrors() => Fuzz(
        24, TensorWriter.Safetensors([new("a", [2, 3], [1, 2, 3, 4, 5, 6]), new("b", [4], [1, 2, 3, 4], TensorType.BF16)], """{"format":"pt"}"""), "x.safetensors", path =>
        {
            ReadTensors(path);
            SecondReading.CheckSafetensors(path);
        });

    [Theory]
    [InlineData("vector_bf16.pt")]
    [InlineData("dictionary.pt")]
    public void Pytorch_Damaged_GivesOnlyClearErrors(string golden) => Fuzz(25, File.ReadAllBytes(PytorchTests.Golden(golden)), "x.pt", ReadTensors);

    [Fact]
    public void Pytorch_ValidZipOfDamagedPickle_GivesOnlyClearErrors()
    {
        TestTensor[] tensors = [new("a", [2, 3], [1, 2, 3, 4, 5, 6]), new("b", [4], [1, 2, 3, 4], TensorType.BF16)];
        var valid = TensorWriter.Pt(tensors);
        using var zip = new ZipArchive(new MemoryStream(valid));
        using var pickle = zip.GetEntry("archive/data.pkl")!.Open();
        var bytes = new MemoryStream();
        pickle.CopyTo(bytes);
        Fuzz(26, bytes.ToArray(), "x.pt", path =>
        {
            File.WriteAllBytes(path, TensorWriter.PtArchive(File.ReadAllBytes(path), tensors));
            ReadTensors(path);
        });
    }

    [Fact]
    public void JsonLines_Damaged_GivesOnlyClearErrors()
    {
        var pairs = """
            {"prompt": "größe", "chosen": "a\u00e9", "rejected": "b", "topic": {"x": [1, 2.5e3, null, true]}}
            {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "chosen": "c", "rejected": "d"}

            """u8.ToArray();
        Fuzz(20, pairs, "x.jsonl", path => PreferencePair.Load(path));
        Fuzz(21, """{"prompt_tokens": [1, 2], "completion_tokens": [3], "id": {"a": "b"}}"""u8.ToArray(), "x.jsonl", path => Assert.All(ScoreItem.Read(path), s => Assert.True(s.Line > 0)));
        Fuzz(22, """{"question": "q", "options": ["a", "b"], "answer": 1, "localized": false}"""u8.ToArray(), "x.jsonl", path => MultipleChoiceItem.Read(path));
        Fuzz(23, """{"messages": [{"role": "user", "content": "\ud83d\ude00"}], "id": 1}"""u8.ToArray(), "x.jsonl", path => Assert.All(PromptItem.Read(path), s => Assert.True(s.Line > 0)));
    }

    [Fact]
    public void ChoiceFiles_Damaged_GiveOnlyClearErrors()
    {
        Fuzz(24, "\"What, then?\",a,\"b \"\"c\"\"\",d,e,B\nq2,a,b,c,d,A\n"u8.ToArray(), "x.csv", path => ChoiceFile.Load(path));
        Fuzz(25, "country,localization_status,prompt-mcq,chosen-mcq\nEgypt,localized,\"Größe?\n1. a\n2. b\",\\boxed{2}\n"u8.ToArray(), "x.csv", path => ChoiceFile.Load(path));
        Fuzz(26, """[{"question": "q\nChoices:\n (A) a\n (B) b", "answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(B)"}]"""u8.ToArray(), "x.json", path => ChoiceFile.Load(path));
        Fuzz(27, """{"measure": "m", "rules": [{"any": ["I cannot"], "none": ["but"], "regex": "^(no|größe).*$", "group": "g", "score": 1}], "default": 0.5}"""u8.ToArray(), "x.json", path => YaPO.Llama.Evaluation.Suites.RuleJudge.Load(path));
    }

    /// <summary>Whatever is accepted must be readable as far as its type allows, with as many values as its shape says.</summary>
    private void ReadTensors(string path)
    {
        using var source = TensorFile.Open(path);
        foreach (var name in source.Names)
        {
            if (source.Info(name).Type.IsReadable())
            {
                using var data = source.OpenTensor(name, _folder.Path);
                Assert.Equal(data.Info.Shape.Aggregate(1L, (a, n) => a * n), data.ReadAll().LongLength);
            }
        }
    }

    private void Fuzz(int seed, byte[] valid, string name, Action<string> read) => new FuzzRun(_folder).Run(seed, valid, name, read);

    private static byte[] Bytes(GgufWriter writer)
    {
        var stream = new MemoryStream();
        writer.Write(stream);
        return stream.ToArray();
    }
}

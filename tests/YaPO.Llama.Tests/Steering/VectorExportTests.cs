using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text.Json;
using YaPO.Llama.Gguf;
using YaPO.Llama.Steering;
using YaPO.Llama.Tensors;
using YaPO.Llama.Tests.Python;

namespace YaPO.Llama.Tests.Steering;

public sealed class VectorExportTests : IDisposable
{
    private static readonly SteeringFile Sample = SampleVectors.File(SampleVectors.Sparse(), SampleVectors.Dense());

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string Export(Action<SteeringFile, string> export, string name, SteeringFile? file = null)
    {
        export(file ?? Sample, _folder.File(name));
        return _folder.File(name);
    }

    [Fact]
    public void Safetensors_ReadBack_HasValuesIdsAndFields()
    {
        using var source = TensorFile.Open(Export(VectorExport.Safetensors, "x.safetensors"));

        source.Names.Should().Equal("v.0.index", "v.0.value", "v.1.value");
        source.Read("v.0.value").Should().Equal(Sample.Vectors[0].Value);
        source.Read("v.1.value").Should().Equal(Sample.Vectors[1].Value);
        (source.Info("v.0.index").Type, source.Info("v.0.index").ShapeText).Should().Be((TensorType.I64, "(3,)"));
        source.Metadata.Should().Contain("yapo.vector.0.layer", "2").And.Contain("yapo.vector.0.sae.width", "64").And.Contain("yapo.vector.0.strength.recommended", "1.5")
            .And.Contain("yapo.vector.0.positions", "generated").And.Contain("yapo.vector.1.kind", "dense").And.Contain("yapo.base.fingerprint", "ab").And.Contain("yapo.vector.0.sae.attribution", "someone")
            .And.ContainKey("formula");
        JsonSerializer.Deserialize<string[]>(source.Metadata["v.0.label"]).Should().Equal("größe 0", "größe 1", "größe 2");
        var bytes = File.ReadAllBytes(_folder.File("x.safetensors"));
        var header = 8 + BitConverter.ToInt32(bytes);
        (header % 8).Should().Be(0);
        MemoryMarshal.Cast<byte, long>(bytes.AsSpan(header, 24)).ToArray().Should().Equal(2, 7, 12);
    }

    [Fact]
    public void Npz_ReadBack_HasValuesIdsAndFields()
    {
        using var source = TensorFile.Open(Export(VectorExport.Npz, "x.npz"));

        source.Names.Should().Equal("v.0.index", "v.0.value", "v.1.value", "metadata");
        source.Read("v.0.value").Should().Equal(Sample.Vectors[0].Value);
        using var zip = ZipFile.OpenRead(_folder.File("x.npz"));
        using var stream = zip.GetEntry("v.0.index.npy")!.Open();
        var npy = new MemoryStream();
        stream.CopyTo(npy);
        MemoryMarshal.Cast<byte, long>(npy.ToArray().AsSpan(^24..)).ToArray().Should().Equal(2, 7, 12);
    }

    [PythonFact]
    public void Npz_InNumpy_IsWhatWasWritten()
    {
        const string script = """
            import json, sys, numpy as np
            a = np.load(sys.argv[1], allow_pickle=False)
            m = json.loads(str(a["metadata"]))
            print(json.dumps({"index": a["v.0.index"].tolist(), "value": a["v.0.value"].astype(float).tolist(), "dtype": str(a["v.0.index"].dtype), "dense": a["v.1.value"].tolist(),
                              "layer": m["yapo.vector.0.layer"], "evidence": m["yapo.evidence"], "files": a.files}))
            """;

        var root = JsonDocument.Parse(PythonFactAttribute.Run(torch: false, "-c", script, Export(VectorExport.Npz, "x.npz"))).RootElement;

        root.GetProperty("index").EnumerateArray().Select(x => x.GetInt32()).Should().Equal(2, 7, 12);
        root.GetProperty("value").EnumerateArray().Select(x => (float)x.GetDouble()).Should().Equal(Sample.Vectors[0].Value);
        root.GetProperty("dense").EnumerateArray().Select(x => (float)x.GetDouble()).Should().Equal(Sample.Vectors[1].Value);
        (root.GetProperty("dtype").GetString(), root.GetProperty("layer").GetString()).Should().Be(("int64", "2"));
        root.GetProperty("evidence").GetString().Should().Be(Sample.Evidence);
    }

    [Fact]
    public void Export_Twice_GivesTheSameBytes()
    {
        foreach (var export in new Action<SteeringFile, string>[] { VectorExport.Safetensors, VectorExport.Npz, (f, p) => VectorExport.ControlVector(f, p) })
        {
            var first = File.ReadAllBytes(Export(export, "1"));
            Thread.Sleep(10);
            File.ReadAllBytes(Export(export, "2")).Should().Equal(first);
        }
    }

    [Fact]
    public void ControlVector_IsTheFlattenedSumPerLayer_AndReadsBackAtTheSameLayers()
    {
        var a = SampleVectors.Sparse(layer: 2, seed: 1);
        var b = SampleVectors.Sparse(layer: 2, seed: 2) with { RecommendedStrength = -0.5f, MinStrength = null };
        var path = Export((f, p) => VectorExport.ControlVector(f, p, 26), "cv.gguf", SampleVectors.File(a, SampleVectors.Dense(layer: 5), b));

        using (var gguf = GgufFile.Open(path))
        {
            gguf.Architecture.Should().Be("controlvector");
            gguf.Metadata.GetString("controlvector.model_hint").Should().Be("gemma2");
            gguf.Metadata.GetUInt32("controlvector.layer_count").Should().Be(26);
            gguf.Tensors.Should().OnlyContain(t => t.Type == GgmlType.F32 && t.Shape.Count == 1);
        }

        var read = SteeringFile.Load(path);
        read.Vectors.Select(v => v.Layer).Should().Equal(2, 5);
        for (var i = 0; i < SampleVectors.D; i++)
        {
            var expected = 0.0;
            for (var j = 0; j < 3; j++)
            {
                expected += (1.5 * a.Value[j] * a.Dec[(j * SampleVectors.D) + i]) - (0.5 * b.Value[j] * b.Dec[(j * SampleVectors.D) + i]);
            }

            read.Vectors[0].Value[i].Should().BeApproximately((float)expected, 1e-6f);
        }

        read.Vectors[1].Value.Should().Equal(SampleVectors.Dense().Value);
    }

    [Fact]
    public void ControlVector_Block0_IsRefusedAndLeavesNoFile()
    {
        FluentActions.Invoking(() => Export((f, p) => VectorExport.ControlVector(f, p), "cv.gguf", SampleVectors.File(SampleVectors.Sparse(layer: 0))))
            .Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Unsupported).WithMessage("*block 0*direction.0*");
        FluentActions.Invoking(() => Export((f, p) => VectorExport.ControlVector(f, p), "cv.gguf", SampleVectors.File(SampleVectors.Dense() with { RecommendedStrength = 3e38f, Value = [9, 0, 0, 0, 0, 0, 0, 0] })))
            .Should().Throw<YapoException>().WithMessage("*direction.3[0]*too large*");
        Directory.GetFiles(_folder.Path).Should().BeEmpty();
    }
}

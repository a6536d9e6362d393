using System.Text.Json;
using YaPO.Llama.Gguf;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Python;

namespace YaPO.Llama.Tests.Steering;

/// <summary>tools/read_ysv.py, what a Hugging Face user copies: same numbers as ours, and the formula applied to hidden states.</summary>
public sealed class PythonReaderTests : IDisposable
{
    private const string Script = """
        import json, sys
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        from read_ysv import read_ysv, steer
        m, t = read_ysv(sys.argv[2])
        h = np.array(json.loads(sys.argv[3]), "<f4")
        print(json.dumps({
            "tensors": {k: {"shape": list(v.shape), "values": v.astype(float).ravel().tolist()} for k, v in t.items()},
            "metadata": {k: v for k, v in m.items() if not isinstance(v, list)},
            "labels": m.get("v.0.label"),
            "steered": [steer(h, m, t, s, i).astype(float).ravel().tolist() for s in (None, -2.0, 0.0) for i in range(m["yapo.n_vectors"])],
        }))
        """;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [PythonFact]
    public void ReadYsv_EveryStorageType_HasOurNumbersAndOurFormula()
    {
        var file = SampleVectors.File(
            SampleVectors.Sparse(), SampleVectors.Dense(), SampleVectors.Sparse(k: 5, seed: 4) with { DecType = GgmlType.BF16 }, SampleVectors.Sparse(k: 1, seed: 9) with { DecType = GgmlType.F16 });
        file.Save(_folder.File("x.ysv"));
        var ours = SteeringFile.Load(_folder.File("x.ysv"));
        var random = new Random(3);
        float[][] h = [.. Enumerable.Range(0, 60).Select(_ => Enumerable.Range(0, SampleVectors.D).Select(_ => (float)((8 * random.NextDouble()) - 4)).ToArray())];

        var root = JsonDocument.Parse(PythonFactAttribute.Run(torch: false, "-c", Script, Path.Combine(Repository.Root, "tools"), _folder.File("x.ysv"), JsonSerializer.Serialize(h))).RootElement;

        var tensors = root.GetProperty("tensors");
        float[] Values(string name) => [.. tensors.GetProperty(name).GetProperty("values").EnumerateArray().Select(x => (float)x.GetDouble())];
        for (var i = 0; i < ours.Vectors.Count; i++)
        {
            var v = ours.Vectors[i];
            Values($"v.{i}.value").Should().Equal(v.Value);
            if (v.K > 0)
            {
                Values($"v.{i}.index").Should().Equal(v.Index.Select(j => (float)j));
                Values($"v.{i}.enc").Should().Equal(v.Enc);
                Values($"v.{i}.dec").Should().Equal(v.Dec);
                Values($"v.{i}.threshold").Should().Equal(v.Threshold);
                tensors.GetProperty($"v.{i}.dec").GetProperty("shape").EnumerateArray().Select(n => n.GetInt32()).Should().Equal(v.K, SampleVectors.D);
            }
        }

        root.GetProperty("metadata").GetProperty("yapo.vector.0.layer").GetInt32().Should().Be(2);
        root.GetProperty("metadata").GetProperty("yapo.train.seed").GetUInt64().Should().Be(ulong.MaxValue);
        root.GetProperty("labels").EnumerateArray().Select(l => l.GetString()).Should().Equal(ours.Vectors[0].Labels);
        var steered = root.GetProperty("steered").EnumerateArray().ToArray();
        var clipped = 0;
        var n = 0;
        foreach (var strength in new float?[] { null, -2, 0 })
        {
            foreach (var v in ours.Vectors)
            {
                double[] expected = [.. h.SelectMany(row => Oracle(v, row, strength ?? v.RecommendedStrength, ref clipped))];
                steered[n++].EnumerateArray().Select(x => x.GetDouble()).Zip(expected, (a, b) => Math.Abs(a - b)).Max().Should().BeLessThan(1e-5);
            }
        }

        clipped.Should().BeGreaterThan(10, "the clip must be among what was compared");
    }

    private static double[] Oracle(SteeringVector v, float[] h, float strength, ref int clipped)
    {
        var result = Array.ConvertAll(h, x => (double)x);
        for (var i = 0; i < h.Length && v.K == 0; i++)
        {
            result[i] += (double)strength * v.Value[i];
        }

        for (var j = 0; j < v.K; j++)
        {
            double pre = v.EncBias[j];
            for (var i = 0; i < h.Length; i++)
            {
                pre += (double)v.Enc[(j * h.Length) + i] * h[i];
            }

            var z = pre > 0 && pre > v.Threshold[j] ? pre : 0;
            var c = Math.Max((double)strength * v.Value[j], -z);
            clipped += z > 0 && c == -z ? 1 : 0;
            for (var i = 0; i < h.Length; i++)
            {
                result[i] += c * v.Dec[(j * h.Length) + i];
            }
        }

        return result;
    }
}

using System.Text.Json;
using YaPO.Llama.Gguf;
using YaPO.Llama.IO;
using YaPO.Llama.Numpy;
using YaPO.Llama.Safetensors;

namespace YaPO.Llama.Steering;

/// <summary>
/// Vectors for other tools. Safetensors and NumPy archives hold v itself and its feature ids, for use with the SAE in Python: tensors
/// <c>v.i.index</c> (I64 [K], sparse vectors only) and <c>v.i.value</c> (F32 [K], or [d_model] where dense), and the fields of the <c>.ysv</c> layout as text.
/// Control vectors hold flattened directions and are another function of the state, see <see cref="ControlVector"/>.
/// </summary>
public static class VectorExport
{
    /// <summary>What the numbers mean, for the reader of an exported file.</summary>
    public const string Formula = "z = JumpReLU(W_enc h + b_enc); c = max(strength * v, -z) at the listed features; h += W_dec^T c, after block `layer` (zero-based)";

    /// <summary>Writes a <c>.safetensors</c> file; the fields are its <c>__metadata__</c>.</summary>
    public static void Safetensors(SteeringFile file, string path)
    {
        ArgumentNullException.ThrowIfNull(file);
        var writer = new SafetensorsWriter();
        foreach (var (key, text) in Fields(file))
        {
            writer.Set(key, text);
        }

        for (var i = 0; i < file.Vectors.Count; i++)
        {
            var v = file.Vectors[i];
            if (v.Kind == VectorKind.Sparse)
            {
                writer.Add($"v.{i}.index", Array.ConvertAll(v.Index, j => (long)j), v.K);
            }

            writer.Add($"v.{i}.value", v.Value, v.Value.Length);
        }

        writer.Save(path);
    }

    /// <summary>Writes an <c>.npz</c> file; the fields are a JSON object in the scalar string <c>metadata</c>.</summary>
    public static void Npz(SteeringFile file, string path)
    {
        ArgumentNullException.ThrowIfNull(file);
        var writer = new NpzWriter();
        for (var i = 0; i < file.Vectors.Count; i++)
        {
            var v = file.Vectors[i];
            if (v.Kind == VectorKind.Sparse)
            {
                writer.Add($"v.{i}.index", Array.ConvertAll(v.Index, j => (long)j));
            }

            writer.Add($"v.{i}.value", v.Value);
        }

        writer.Add("metadata", CanonicalJson.Normalize(JsonSerializer.Serialize(Fields(file)), "metadata")).Save(path);
    }

    /// <summary>
    /// Writes a control vector for llama.cpp: direction.L = Σ λ v W_dec over the vectors of block L, at their recommended strengths. It is added at every
    /// position, BOS included, and does not stop where a feature that is turned down is off: what that loses is for the caller to measure and to say.
    /// </summary>
    /// <param name="file">The vectors.</param>
    /// <param name="path">GGUF to write.</param>
    /// <param name="layerCount">Blocks of the model; null: up to the highest layer of the file.</param>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Unsupported"/> for a vector at block 0, which the format cannot express.</exception>
    public static void ControlVector(SteeringFile file, string path, int? layerCount = null)
    {
        ArgumentNullException.ThrowIfNull(file);
        var writer = new GgufWriter()
            .Set("general.architecture", ControlVectorFile.Architecture)
            .SetIfAny("general.name", file.Name)
            .Set("controlvector.model_hint", file.Base.Architecture)
            .Set("controlvector.layer_count", layerCount ?? (file.Vectors.Max(v => v.Layer) + 1));
        foreach (var layer in file.Vectors.GroupBy(v => v.Layer).OrderBy(g => g.Key))
        {
            if (layer.Key == 0)
            {
                throw new YapoException(YapoErrorKind.Unsupported, $"vector {layer.First().Name} acts after block 0; control-vector files start at block 1 (llama.cpp refuses direction.0)");
            }

            var direction = new double[file.DModel];
            foreach (var v in layer)
            {
                var flat = v.Flatten();
                for (var i = 0; i < direction.Length; i++)
                {
                    direction[i] += (double)v.RecommendedStrength * flat[i];
                }
            }

            var values = Array.ConvertAll(direction, x => (float)x);
            var bad = Array.FindIndex(values, x => !float.IsFinite(x));
            if (bad >= 0)
            {
                throw new YapoException(YapoErrorKind.Format, $"direction.{layer.Key}[{bad}] is too large for 32 bits at the recommended strength");
            }

            writer.AddTensor($"direction.{layer.Key}", GgmlType.F32, [values.Length], values);
        }

        writer.Save(path);
    }

    private static SortedDictionary<string, string> Fields(SteeringFile file)
    {
        var fields = new SortedDictionary<string, string>(StringComparer.Ordinal) { ["format"] = "yapo-steering-vector-1", ["formula"] = Formula };
        foreach (var (key, text) in SteeringFields.Of(file).Concat(file.Vectors.SelectMany((v, i) => SteeringFields.Of(v).Select(f => (Key: $"yapo.vector.{i}.{f.Key}", f.Text)))))
        {
            if (text.Length > 0)
            {
                fields[key] = text;
            }
        }

        for (var i = 0; i < file.Vectors.Count; i++)
        {
            if (file.Vectors[i].Labels is { } labels)
            {
                fields[$"v.{i}.label"] = JsonSerializer.Serialize(labels);
            }
        }

        return fields;
    }
}

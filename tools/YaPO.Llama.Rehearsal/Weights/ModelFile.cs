using System.Globalization;
using YaPO.Llama.Gguf;
using YaPO.Llama.Rehearsal.Shapes;
using YaPO.Llama.Rehearsal.Vocabularies;

namespace YaPO.Llama.Rehearsal.Weights;

/// <summary>A model file of true shape, mix and vocabulary, with random weights: matrices of variance 1 / inputs, norms around 1.</summary>
public static class ModelFile
{
    /// <summary>Writes it; tells <paramref name="progress"/> the share done.</summary>
    public static void Write(ModelShape shape, string mix, ulong seed, string path, Action<double>? progress = null, CancellationToken cancellation = default)
    {
        var a = shape.Architecture;
        var writer = new GgufWriter()
            .Set("general.architecture", a)
            .Set("general.name", $"rehearsal {shape.Name} (random weights, seed {seed})")
            .Set($"{a}.context_length", (uint)shape.Context)
            .Set($"{a}.embedding_length", (uint)shape.Width)
            .Set($"{a}.block_count", (uint)shape.Layers)
            .Set($"{a}.feed_forward_length", (uint)shape.FeedForward)
            .Set($"{a}.attention.head_count", (uint)shape.Heads)
            .Set($"{a}.attention.head_count_kv", (uint)shape.KeyValueHeads)
            .Set($"{a}.attention.key_length", (uint)shape.HeadSize)
            .Set($"{a}.attention.value_length", (uint)shape.HeadSize)
            .Set($"{a}.attention.layer_norm_rms_epsilon", 1e-6f);
        foreach (var (key, value) in shape.Keys)
        {
            _ = value is float f ? writer.Set($"{a}.{key}", f) : writer.Set($"{a}.{key}", (uint)value);
        }

        SyntheticVocabulary.AddTo(writer, shape);
        var total = ((long)shape.Vocabulary * shape.Width) + (shape.Layers * shape.Block().Sum(t => (long)t.In * Math.Max(t.Out, 1)));
        long done = 0;
        void Add(string name, GgmlType type, BlockTensor tensor)
        {
            long[] dimensions = tensor.Out == 0 ? [tensor.In] : [tensor.In, tensor.Out];
            writer.AddTensor(name, type, dimensions, stream =>
            {
                if (tensor.Out == 0)
                {
                    GgufWriter.WriteFloats(stream, type, Norm(new RandomRows(seed, name), tensor.In));
                }
                else
                {
                    new RandomRows(seed, name).Write(stream, type, (long)tensor.In * tensor.Out, 1 / Math.Sqrt(tensor.In), cancellation);
                }

                done += (long)tensor.In * Math.Max(tensor.Out, 1);
                progress?.Invoke((double)done / total);
            });
        }

        Add("token_embd.weight", QuantizationMix.Embedding(mix, shape.Width), new BlockTensor("token_embd", shape.Width, shape.Vocabulary));
        Add("output_norm.weight", GgmlType.F32, new BlockTensor("output_norm", shape.Width));
        for (var il = 0; il < shape.Layers; il++)
        {
            foreach (var tensor in shape.Block())
            {
                Add(string.Create(CultureInfo.InvariantCulture, $"blk.{il}.{tensor.Name}.weight"), QuantizationMix.Type(mix, tensor, il, shape.Layers), tensor);
            }
        }

        writer.Save(path);
    }

    private static float[] Norm(RandomRows random, int n)
    {
        var values = new float[n];
        random.Fill(values, 0.1);
        for (var i = 0; i < n; i++)
        {
            values[i] += 1;
        }

        return values;
    }
}

using YaPO.Llama.DemoWorld.Worlds;
using YaPO.Llama.Gguf;

namespace YaPO.Llama.DemoWorld.Vocabulary;

/// <summary>The shape of the demo model.</summary>
/// <param name="DModel">Width of the residual stream (a multiple of 256, or K-quants fall back to other types).</param>
/// <param name="Blocks">Number of blocks.</param>
/// <param name="FeedForward">Width of the feed-forward layers (a multiple of 256).</param>
/// <param name="Heads">Query heads.</param>
/// <param name="KvHeads">Key and value heads.</param>
/// <param name="HeadDim">Width of one head.</param>
/// <param name="Context">Longest text.</param>
public sealed record ModelShape(int DModel, int Blocks, int FeedForward, int Heads, int KvHeads, int HeadDim, int Context);

/// <summary>Writes the untrained model: a whole Gemma-2 GGUF with random weights, so that training only replaces tensors.</summary>
public static class InitialModel
{
    // The same conversation format as Gemma 2 instruct models: BOS once, roles "user" and "model", no system role.
    private const string ChatTemplate =
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('This model knows no system role') }}{% endif %}"
        + "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Turns must alternate: user, assistant, user, assistant') }}{% endif %}"
        + "{% if message['role'] == 'assistant' %}{% set speaker = 'model' %}{% else %}{% set speaker = message['role'] %}{% endif %}"
        + "{{ '<start_of_turn>' + speaker + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

    /// <summary>Writes the file. Matrices are drawn with standard deviation 1/sqrt(inputs), embeddings 1/sqrt(DModel), norms are 1 (stored as GGUF does, already incremented by one).</summary>
    public static void Write(string path, PieceVocabulary vocabulary, ModelShape shape, ulong seed, string name)
    {
        var writer = new GgufWriter()
            .Set("general.architecture", "gemma2")
            .Set("general.name", name)
            .Set("general.description", "A few million parameters trained on generated text about four invented-to-measure cultures. For tests and demonstrations only.")
            .Set("gemma2.context_length", (uint)shape.Context)
            .Set("gemma2.embedding_length", (uint)shape.DModel)
            .Set("gemma2.block_count", (uint)shape.Blocks)
            .Set("gemma2.feed_forward_length", (uint)shape.FeedForward)
            .Set("gemma2.attention.head_count", (uint)shape.Heads)
            .Set("gemma2.attention.head_count_kv", (uint)shape.KvHeads)
            .Set("gemma2.attention.layer_norm_rms_epsilon", 1e-6f)
            .Set("gemma2.attention.key_length", (uint)shape.HeadDim)
            .Set("gemma2.attention.value_length", (uint)shape.HeadDim)
            .Set("gemma2.attn_logit_softcapping", 50f)
            .Set("gemma2.final_logit_softcapping", 30f)
            .Set("gemma2.attention.sliding_window", 4096u)
            .Set("tokenizer.ggml.model", "llama")
            .Set("tokenizer.ggml.pre", "default")
            .Set("tokenizer.ggml.tokens", vocabulary.Texts)
            .Set("tokenizer.ggml.scores", vocabulary.Scores)
            .Set("tokenizer.ggml.token_type", vocabulary.Types)
            .Set("tokenizer.ggml.bos_token_id", (uint)PieceVocabulary.Bos)
            .Set("tokenizer.ggml.eos_token_id", (uint)PieceVocabulary.Eos)
            .Set("tokenizer.ggml.unknown_token_id", (uint)PieceVocabulary.Unknown)
            .Set("tokenizer.ggml.padding_token_id", (uint)PieceVocabulary.Pad)
            .Set("tokenizer.ggml.add_bos_token", true)
            .Set("tokenizer.ggml.add_eos_token", false)
            .Set("tokenizer.ggml.add_space_prefix", false)
            .Set("tokenizer.chat_template", ChatTemplate);

        var rng = new Rng(seed, "weights");
        void Matrix(string tensor, int inputs, int outputs, double deviation) =>
            writer.AddTensor(tensor, GgmlType.F32, [inputs, outputs], Enumerable.Range(0, inputs * outputs).Select(_ => (float)(deviation * rng.Normal())).ToArray());
        void Norm(string tensor) => writer.AddTensor(tensor, GgmlType.F32, [shape.DModel], Enumerable.Repeat(1f, shape.DModel).ToArray());

        var (d, q, kv) = (shape.DModel, shape.Heads * shape.HeadDim, shape.KvHeads * shape.HeadDim);
        Matrix("token_embd.weight", d, vocabulary.Count, 1 / Math.Sqrt(d));
        Norm("output_norm.weight");
        for (var b = 0; b < shape.Blocks; b++)
        {
            Norm($"blk.{b}.attn_norm.weight");
            Matrix($"blk.{b}.attn_q.weight", d, q, 1 / Math.Sqrt(d));
            Matrix($"blk.{b}.attn_k.weight", d, kv, 1 / Math.Sqrt(d));
            Matrix($"blk.{b}.attn_v.weight", d, kv, 1 / Math.Sqrt(d));
            Matrix($"blk.{b}.attn_output.weight", q, d, 1 / Math.Sqrt(q));
            Norm($"blk.{b}.post_attention_norm.weight");
            Norm($"blk.{b}.ffn_norm.weight");
            Matrix($"blk.{b}.ffn_gate.weight", d, shape.FeedForward, 1 / Math.Sqrt(d));
            Matrix($"blk.{b}.ffn_up.weight", d, shape.FeedForward, 1 / Math.Sqrt(d));
            Matrix($"blk.{b}.ffn_down.weight", shape.FeedForward, d, 1 / Math.Sqrt(shape.FeedForward));
            Norm($"blk.{b}.post_ffw_norm.weight");
        }

        writer.Save(path);
    }
}

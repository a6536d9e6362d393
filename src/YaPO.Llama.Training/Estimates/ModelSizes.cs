using System.Globalization;
using YaPO.Llama.Gguf;

namespace YaPO.Llama.Training.Estimates;

/// <summary>The sizes that memory depends on, from a model file's metadata and tensors.</summary>
/// <param name="D">Model width.</param>
/// <param name="Blocks">Of the whole model.</param>
/// <param name="Heads">Query heads.</param>
/// <param name="Queries">Q: width of all query heads.</param>
/// <param name="Keys">KV: width of all key heads.</param>
/// <param name="Wide">FF: width of the feed-forward layers.</param>
/// <param name="Vocabulary">V.</param>
/// <param name="Head">What logits are computed with: the embedding where it serves as both.</param>
internal sealed record ModelSizes(long D, long Blocks, long Heads, long Queries, long Keys, long Wide, long Vocabulary, GgufTensor? Head)
{
    public static ModelSizes Of(GgufFile gguf)
    {
        long Size(string key, long otherwise) => gguf.Metadata.GetUInt64($"{gguf.Architecture}.{key}") is { } n ? (long)n : otherwise;
        long d = Size("embedding_length", 0), heads = Size("attention.head_count", 1);
        var width = Size("attention.key_length", d / Math.Max(1, heads));
        var embedding = gguf.TryGetTensor("token_embd.weight", out var e) ? e : null;
        return new ModelSizes(
            d, Size("block_count", 0), heads, heads * width, Size("attention.head_count_kv", heads) * width,
            gguf.TryGetTensor("blk.0.ffn_up.weight", out var up) ? up.Rows : 4 * d,
            embedding?.Rows ?? 0,
            gguf.TryGetTensor("output.weight", out var output) ? output : embedding);
    }

    /// <summary>Zero-based block of a tensor; −1 for those outside the blocks.</summary>
    public static int BlockOf(GgufTensor tensor) =>
        tensor.Name.Split('.', 3) is ["blk", var number, _] && int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var block) ? block : -1;
}

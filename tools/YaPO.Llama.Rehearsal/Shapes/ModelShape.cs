using YaPO.Llama.Gguf;

namespace YaPO.Llama.Rehearsal.Shapes;

/// <summary>Which tokenizer a vocabulary imitates.</summary>
public enum TokenizerKind
{
    /// <summary>SentencePiece BPE with scores (Gemma).</summary>
    SentencePiece,

    /// <summary>Byte-level BPE with merges (Llama 3, Qwen).</summary>
    ByteLevel,
}

/// <summary>A tensor of a block: its rows read <paramref name="In"/> inputs and give <paramref name="Out"/> outputs; Out = 0: a norm of In entries.</summary>
/// <param name="Name">As in GGUF, without <c>blk.N.</c> and <c>.weight</c>.</param>
/// <param name="In">Row length.</param>
/// <param name="Out">Rows.</param>
/// <param name="MoreBits">One of the tensors that the K_M mixes store with more bits in some blocks.</param>
public readonly record struct BlockTensor(string Name, int In, int Out = 0, bool MoreBits = false);

/// <summary>The dimensions of a published model. Only shapes are taken from it, no weight.</summary>
public sealed record ModelShape
{
    /// <summary>Name on the command line.</summary>
    public required string Name { get; init; }

    /// <summary>Architecture as llama.cpp names it.</summary>
    public required string Architecture { get; init; }

    /// <summary>D.</summary>
    public required int Width { get; init; }

    /// <summary>Blocks.</summary>
    public required int Layers { get; init; }

    /// <summary>Inner width of the feed-forward part.</summary>
    public required int FeedForward { get; init; }

    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Width of a head.</summary>
    public required int HeadSize { get; init; }

    /// <summary>V.</summary>
    public required int Vocabulary { get; init; }

    /// <summary>Longest context.</summary>
    public int Context { get; init; } = 8192;

    /// <summary>Tokenizer.</summary>
    public TokenizerKind Tokenizer { get; init; } = TokenizerKind.SentencePiece;

    /// <summary>Name of the pre-tokenizer of byte-level vocabularies.</summary>
    public string PreTokenizer { get; init; } = "";

    /// <summary>Norms behind attention and feed-forward, as in Gemma 2 and 3.</summary>
    public bool PostNorms { get; init; }

    /// <summary>Per-head norms of queries and keys, as in Gemma 3 and Qwen 3.</summary>
    public bool HeadNorms { get; init; }

    /// <summary>Architecture keys that are not counts: name without the architecture, value.</summary>
    public IReadOnlyList<(string Key, object Value)> Keys { get; init; } = [];

    /// <summary>What can be asked for.</summary>
    public static IReadOnlyList<ModelShape> All { get; } =
    [
        new()
        {
            Name = "gemma-2-2b", Architecture = "gemma2", Width = 2304, Layers = 26, FeedForward = 9216, Heads = 8, KeyValueHeads = 4, HeadSize = 256, Vocabulary = 256000, PostNorms = true,
            Keys = [("attention.sliding_window", 4096u), ("attn_logit_softcapping", 50f), ("final_logit_softcapping", 30f)],
        },
        new()
        {
            Name = "gemma-2-9b", Architecture = "gemma2", Width = 3584, Layers = 42, FeedForward = 14336, Heads = 16, KeyValueHeads = 8, HeadSize = 256, Vocabulary = 256000, PostNorms = true,
            Keys = [("attention.sliding_window", 4096u), ("attn_logit_softcapping", 50f), ("final_logit_softcapping", 30f)],
        },
        new()
        {
            Name = "gemma-3-1b", Architecture = "gemma3", Width = 1152, Layers = 26, FeedForward = 6912, Heads = 4, KeyValueHeads = 1, HeadSize = 256, Vocabulary = 262144, Context = 32768,
            PostNorms = true, HeadNorms = true, Keys = [("attention.sliding_window", 512u), ("rope.freq_base", 1e6f)],
        },
        new()
        {
            Name = "gemma-3-4b", Architecture = "gemma3", Width = 2560, Layers = 34, FeedForward = 10240, Heads = 8, KeyValueHeads = 4, HeadSize = 256, Vocabulary = 262144, Context = 32768,
            PostNorms = true, HeadNorms = true, Keys = [("attention.sliding_window", 1024u), ("rope.freq_base", 1e6f)],
        },
        new()
        {
            Name = "llama-3.2-1b", Architecture = "llama", Width = 2048, Layers = 16, FeedForward = 8192, Heads = 32, KeyValueHeads = 8, HeadSize = 64, Vocabulary = 128256, Context = 131072,
            Tokenizer = TokenizerKind.ByteLevel, PreTokenizer = "llama-bpe", Keys = [("rope.freq_base", 5e5f), ("rope.dimension_count", 64u), ("vocab_size", 128256u)],
        },
        new()
        {
            Name = "qwen-3-1.7b", Architecture = "qwen3", Width = 2048, Layers = 28, FeedForward = 6144, Heads = 16, KeyValueHeads = 8, HeadSize = 128, Vocabulary = 151936, Context = 40960,
            Tokenizer = TokenizerKind.ByteLevel, PreTokenizer = "qwen2", HeadNorms = true, Keys = [("rope.freq_base", 1e6f)],
        },
    ];

    /// <summary>The tensors of every block.</summary>
    public IEnumerable<BlockTensor> Block()
    {
        var (q, kv) = (Heads * HeadSize, KeyValueHeads * HeadSize);
        yield return new("attn_norm", Width);
        yield return new("attn_q", Width, q);
        yield return new("attn_k", Width, kv);
        yield return new("attn_v", Width, kv, MoreBits: true);
        yield return new("attn_output", q, Width);
        if (HeadNorms)
        {
            yield return new("attn_q_norm", HeadSize);
            yield return new("attn_k_norm", HeadSize);
        }

        if (PostNorms)
        {
            yield return new("post_attention_norm", Width);
        }

        yield return new("ffn_norm", Width);
        yield return new("ffn_gate", Width, FeedForward);
        yield return new("ffn_up", Width, FeedForward);
        yield return new("ffn_down", FeedForward, Width, MoreBits: true);
        if (PostNorms)
        {
            yield return new("post_ffw_norm", Width);
        }
    }

    /// <summary>By name.</summary>
    /// <exception cref="YapoException">No such shape.</exception>
    public static ModelShape Parse(string name) => All.FirstOrDefault(s => s.Name == name)
        ?? throw new YapoException(YapoErrorKind.InvalidArgument, $"there is no shape '{name}'; use one of {string.Join(", ", All.Select(s => s.Name))}");
}

/// <summary>Which type each tensor of a file gets.</summary>
public static class QuantizationMix
{
    /// <summary>Names on the command line.</summary>
    public static IReadOnlyList<string> Names { get; } = ["q4_k_m", "q8_0", "f16", "f32"];

    /// <summary>As llama.cpp's mixes choose; K types fall back where rows are no multiple of 256.</summary>
    public static GgmlType Type(string mix, BlockTensor tensor, int block, int blocks) => mix switch
    {
        _ when tensor.Out == 0 => GgmlType.F32,
        "f32" => GgmlType.F32,
        "f16" => GgmlType.F16,
        "q8_0" => GgmlType.Q8_0,
        "q4_k_m" => Fitting(tensor.MoreBits && UsesMoreBits(block, blocks) ? GgmlType.Q6_K : GgmlType.Q4_K, tensor.In),
        _ => throw new YapoException(YapoErrorKind.InvalidArgument, $"there is no mix '{mix}'; use one of {string.Join(", ", Names)}"),
    };

    /// <summary>The embedding, which is the output head too.</summary>
    public static GgmlType Embedding(string mix, int width) => mix == "q4_k_m" ? Fitting(GgmlType.Q6_K, width) : Type(mix, new BlockTensor("token_embd", width, 1), 0, 1);

    private static bool UsesMoreBits(int block, int blocks) => block < blocks / 8 || block >= 7 * blocks / 8 || (block - (blocks / 8)) % 3 == 2;

    private static GgmlType Fitting(GgmlType type, int rowLength) => rowLength % 256 == 0 ? type : type == GgmlType.Q6_K ? GgmlType.Q8_0 : GgmlType.Q5_0;
}

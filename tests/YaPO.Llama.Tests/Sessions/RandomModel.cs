using System.Globalization;
using YaPO.Llama.Gguf;

namespace YaPO.Llama.Tests.Sessions;

/// <summary>
/// A tiny Gemma-2 model with random weights: enough of a vocabulary for English, Arabic and emoji (byte tokens), a chat template that behaves as
/// Gemma's does (no system role, strict alternation), F32. The same seed gives the same bytes.
/// </summary>
internal sealed class RandomModel : IDisposable
{
    public const int Bos = 2;
    public const int Eos = 1;
    public const int StartOfTurn = 4;
    public const int EndOfTurn = 5;

    /// <summary>The template of Gemma-2-it in our own words: same markers, same refusals.</summary>
    public const string GemmaTemplate =
        "{{ bos_token }}{% for message in messages %}" +
        "{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" +
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}" +
        "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' + message['content'] | trim + '<end_of_turn>\n' }}" +
        "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

    private readonly Settings settings;

    public RandomModel(Settings? settings = null)
    {
        this.settings = settings ?? new Settings();
        Path = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"yapo-random-{Environment.ProcessId}-{Guid.NewGuid():N}.gguf");
        WriteTo(Path, this.settings);
    }

    public string Path { get; }

    public int Width => settings.Width;

    public int Layers => settings.Layers;

    public void Dispose() => File.Delete(Path);

    /// <summary>Every tensor is F32; norms are 1-D, matrices [in, out] in ggml order.</summary>
    public static void WriteTo(string path, Settings settings)
    {
        var vocabulary = Vocabulary();
        var (d, heads, headSize) = (settings.Width, settings.Heads, settings.Width / settings.Heads);
        var writer = new GgufWriter()
            .Set("general.architecture", "gemma2")
            .Set("general.name", settings.Name)
            .Set("gemma2.context_length", (uint)settings.TrainingContext)
            .Set("gemma2.embedding_length", (uint)d)
            .Set("gemma2.block_count", (uint)settings.Layers)
            .Set("gemma2.feed_forward_length", (uint)(2 * d))
            .Set("gemma2.attention.head_count", (uint)heads)
            .Set("gemma2.attention.head_count_kv", (uint)(heads / 2))
            .Set("gemma2.attention.key_length", (uint)headSize)
            .Set("gemma2.attention.value_length", (uint)headSize)
            .Set("gemma2.attention.layer_norm_rms_epsilon", 1e-6f)
            .Set("gemma2.attention.sliding_window", (uint)settings.SlidingWindow)
            .Set("gemma2.attn_logit_softcapping", 50f)
            .Set("gemma2.final_logit_softcapping", 30f)
            .Set("tokenizer.ggml.model", "llama")
            .Set("tokenizer.ggml.tokens", vocabulary.Select(t => t.Text))
            .Set("tokenizer.ggml.scores", vocabulary.Select(t => t.Score).ToArray())
            .Set("tokenizer.ggml.token_type", vocabulary.Select(t => t.Type).ToArray())
            .Set("tokenizer.ggml.bos_token_id", (uint)Bos)
            .Set("tokenizer.ggml.eos_token_id", (uint)Eos)
            .Set("tokenizer.ggml.padding_token_id", 0u)
            .Set("tokenizer.ggml.unknown_token_id", 3u)
            .Set("tokenizer.ggml.add_bos_token", true)
            .Set("tokenizer.ggml.add_eos_token", false)
            .Set("tokenizer.ggml.add_space_prefix", false);
        if (settings.Template is not null)
        {
            writer.Set("tokenizer.chat_template", settings.Template);
        }

        var random = new Random(settings.Seed);
        void Matrix(string name, int columns, int rows, double scale) => writer.AddTensor(name, GgmlType.F32, [columns, rows], Normal(random, columns * rows, scale / Math.Sqrt(columns)));
        void Norm(string name) => writer.AddTensor(name, GgmlType.F32, [d], Ones(random, d));

        Matrix("token_embd.weight", d, vocabulary.Count, settings.EmbeddingScale);
        Norm("output_norm.weight");
        for (var il = 0; il < settings.Layers; il++)
        {
            var block = string.Create(CultureInfo.InvariantCulture, $"blk.{il}.");
            Norm(block + "attn_norm.weight");
            Matrix(block + "attn_q.weight", d, heads * headSize, 1);
            Matrix(block + "attn_k.weight", d, heads / 2 * headSize, 1);
            Matrix(block + "attn_v.weight", d, heads / 2 * headSize, 1);
            Matrix(block + "attn_output.weight", heads * headSize, d, 1);
            Norm(block + "post_attention_norm.weight");
            Norm(block + "ffn_norm.weight");
            Matrix(block + "ffn_gate.weight", d, 2 * d, 1);
            Matrix(block + "ffn_up.weight", d, 2 * d, 1);
            Matrix(block + "ffn_down.weight", 2 * d, d, 1);
            Norm(block + "post_ffw_norm.weight");
        }

        writer.Save(path);
    }

    /// <summary>SentencePiece BPE: an earlier token has a higher score and merges first; bytes for everything without a token.</summary>
    private static List<(string Text, float Score, int Type)> Vocabulary()
    {
        const int normal = 1, unknown = 2, control = 3, bytes = 6;
        var tokens = new List<(string Text, float Score, int Type)>
        {
            ("<pad>", 0, control), ("<eos>", 0, control), ("<bos>", 0, control), ("<unk>", 0, unknown), ("<start_of_turn>", 0, control), ("<end_of_turn>", 0, control),
        };
        for (var b = 0; b < 256; b++)
        {
            tokens.Add(($"<0x{b:X2}>", 0, bytes));
        }

        string[] merges = ["th", "he", "in", "er", "an", "re", "on", "the", "▁the", "▁a", "▁w", "▁th", "is", "▁is", "at", "hat", "what", "▁what", "ea", "eat", "▁eat", "us", "use", "user", "mo", "de", "mod", "model", "el"];
        var singles = "\n▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?!'-:".Select(c => c.ToString());
        foreach (var text in singles.Concat(merges))
        {
            tokens.Add((text, -tokens.Count, normal));
        }

        return tokens;
    }

    private static float[] Normal(Random random, int n, double scale)
    {
        var values = new float[n];
        for (var i = 0; i < n; i++)
        {
            var (u, v) = (1 - random.NextDouble(), random.NextDouble());
            values[i] = (float)(scale * Math.Sqrt(-2 * Math.Log(u)) * Math.Cos(2 * Math.PI * v));
        }

        return values;
    }

    private static float[] Ones(Random random, int n)
    {
        var values = Normal(random, n, 0.1);
        for (var i = 0; i < n; i++)
        {
            values[i] += 1;
        }

        return values;
    }

    /// <summary>What the file holds.</summary>
    internal sealed record Settings
    {
        public int Seed { get; init; } = 7;

        public string Name { get; init; } = "random gemma2";

        public int Width { get; init; } = 64;

        public int Layers { get; init; } = 3;

        public int Heads { get; init; } = 4;

        public int TrainingContext { get; init; } = 512;

        public int SlidingWindow { get; init; } = 256;

        /// <summary>Larger makes the next-token distribution sharper, and (the head being tied) repetition likelier.</summary>
        public double EmbeddingScale { get; init; } = 1;

        /// <summary>Null: a base model without a template.</summary>
        public string? Template { get; init; } = GemmaTemplate;
    }
}

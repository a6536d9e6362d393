using System.Globalization;
using YaPO.Llama.Gguf;
using YaPO.Llama.Rehearsal.Shapes;

namespace YaPO.Llama.Rehearsal.Vocabularies;

/// <summary>
/// A vocabulary of full size made of syllables: any text can be tokenized (bytes or characters are there), invented words of up to three syllables are
/// single tokens. Control tokens and template have the published form, at ids of their own.
/// </summary>
public static class SyntheticVocabulary
{
    private const int Normal = 1, Unknown = 2, Control = 3, Byte = 6;

    private const string GemmaTemplate =
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim + '<end_of_turn>\\n' }}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";

    private const string LlamaTemplate =
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

    private const string QwenTemplate =
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    /// <summary>Adds the tokenizer of a shape to a file.</summary>
    public static void AddTo(GgufWriter writer, ModelShape shape)
    {
        if (shape.Tokenizer == TokenizerKind.SentencePiece)
        {
            SentencePiece(writer, shape.Vocabulary);
        }
        else
        {
            ByteLevel(writer, shape);
        }
    }

    private static void SentencePiece(GgufWriter writer, int size)
    {
        var tokens = new List<(string Text, int Type)> { ("<pad>", Control), ("<eos>", Control), ("<bos>", Control), ("<unk>", Unknown), ("<start_of_turn>", Control), ("<end_of_turn>", Control) };
        tokens.AddRange(Enumerable.Range(0, 256).Select(b => (string.Create(CultureInfo.InvariantCulture, $"<0x{b:X2}>"), Byte)));
        tokens.AddRange("\n▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:?!'\"()-".Select(c => (c.ToString(), Normal)));
        tokens.AddRange(Words("▁").Take(size - tokens.Count).Select(w => (w.Text, Normal)));
        writer.Set("tokenizer.ggml.model", "llama")
            .Set("tokenizer.ggml.tokens", tokens.Select(t => t.Text))
            .Set("tokenizer.ggml.scores", [.. tokens.Select((t, i) => t.Type == Normal ? -(float)i : 0)])
            .Set("tokenizer.ggml.token_type", [.. tokens.Select(t => t.Type)])
            .Set("tokenizer.ggml.bos_token_id", 2u)
            .Set("tokenizer.ggml.eos_token_id", 1u)
            .Set("tokenizer.ggml.unknown_token_id", 3u)
            .Set("tokenizer.ggml.padding_token_id", 0u)
            .Set("tokenizer.ggml.add_bos_token", true)
            .Set("tokenizer.ggml.add_eos_token", false)
            .Set("tokenizer.ggml.add_space_prefix", false)
            .Set("tokenizer.chat_template", GemmaTemplate);
    }

    private static void ByteLevel(GgufWriter writer, ModelShape shape)
    {
        var llama = shape.PreTokenizer == "llama-bpe";
        string[] control = llama
            ? ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
            : ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
        var words = Words("Ġ").Take(shape.Vocabulary - 256 - control.Length).ToList();
        var tokens = ByteCharacters().Select(c => c.ToString()).Concat(words.Select(w => w.Text)).Concat(control).ToList();
        uint Id(string text) => (uint)tokens.LastIndexOf(text);
        writer.Set("tokenizer.ggml.model", "gpt2")
            .Set("tokenizer.ggml.pre", shape.PreTokenizer)
            .Set("tokenizer.ggml.tokens", tokens)
            .Set("tokenizer.ggml.token_type", [.. tokens.Select((_, i) => i < tokens.Count - control.Length ? Normal : Control)])
            .Set("tokenizer.ggml.merges", words.Select(w => $"{w.Left} {w.Right}"))
            .Set("tokenizer.ggml.bos_token_id", Id(control[0]))
            .Set("tokenizer.ggml.eos_token_id", Id(control[^1]))
            .Set("tokenizer.ggml.add_bos_token", llama)
            .Set("tokenizer.chat_template", llama ? LlamaTemplate : QwenTemplate);
    }

    // Every word is the merge of two earlier ones, so that both tokenizers can build it.
    private static IEnumerable<(string Text, string Left, string Right)> Words(string space)
    {
        const string consonants = "bcdfghjklmnpqrstvwxz";
        var syllables = (from c in consonants from v in "aeiou" select (Text: $"{c}{v}", Left: c.ToString(), Right: v.ToString())).ToList();
        var pairs = (from a in syllables from b in syllables select (Text: a.Text + b.Text, Left: a.Text, Right: b.Text)).ToList();
        return syllables
            .Concat(syllables.Select(s => (space + s.Text, space, s.Text)))
            .Concat(pairs)
            .Concat(pairs.Select(p => (space + p.Text, space, p.Text)))
            .Concat(from p in pairs from s in syllables select (p.Text + s.Text, p.Text, s.Text));
    }

    // GPT-2's printable stand-ins: bytes that print stand for themselves, the others follow from U+0100 on.
    private static IEnumerable<char> ByteCharacters()
    {
        var next = 0x100;
        for (var b = 0; b < 256; b++)
        {
            yield return b is >= 33 and <= 126 or >= 161 and <= 172 or >= 174 ? (char)b : (char)next++;
        }
    }
}

using System.Text;

namespace YaPO.Llama.DemoWorld.Vocabulary;

/// <summary>
/// A SentencePiece-style vocabulary as a GGUF of Gemma holds it: control tokens, 256 byte tokens, pieces with score = −rank. Encodes as
/// llama.cpp's tokenizer does: always the neighbours whose union ranks best, from the left; what no piece covers becomes bytes.
/// </summary>
public sealed class PieceVocabulary
{
    private static readonly string[] Control = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"];

    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int[]> _cache = new(StringComparer.Ordinal);
    private readonly string[] _texts;

    /// <summary>Builds the vocabulary from pieces in the order in which they rank.</summary>
    public PieceVocabulary(IReadOnlyList<string> pieces)
    {
        _texts = [.. Control, .. Enumerable.Range(0, 256).Select(b => $"<0x{b:X2}>"), .. pieces];
        Types = [.. Control.Select((_, i) => i == Unknown ? 2 : 3), .. Enumerable.Repeat(6, 256), .. pieces.Select(_ => 1)];
        Scores = [.. Enumerable.Repeat(0f, FirstPiece), .. pieces.Select((_, rank) => -(float)rank)];
        for (var id = 0; id < _texts.Length; id++)
        {
            _ids.Add(_texts[id], id);
        }
    }

    /// <summary>Padding.</summary>
    public const int Pad = 0;

    /// <summary>End of a text.</summary>
    public const int Eos = 1;

    /// <summary>Beginning of a text.</summary>
    public const int Bos = 2;

    /// <summary>Never produced: bytes cover everything.</summary>
    public const int Unknown = 3;

    /// <summary>Opens a turn.</summary>
    public const int StartOfTurn = 4;

    /// <summary>Closes a turn.</summary>
    public const int EndOfTurn = 5;

    private const int FirstByte = 6;
    private const int FirstPiece = FirstByte + 256;

    /// <summary>Number of tokens.</summary>
    public int Count => _texts.Length;

    /// <summary>Token texts, spaces as ▁.</summary>
    public IReadOnlyList<string> Texts => _texts;

    /// <summary>Scores.</summary>
    public float[] Scores { get; }

    /// <summary>Token types: 1 normal, 2 unknown, 3 control, 6 byte.</summary>
    public int[] Types { get; }

    /// <summary>Learns a vocabulary of at most <paramref name="size"/> tokens.</summary>
    public static PieceVocabulary Learn(IEnumerable<string> texts, int size) => new(BpeTrainer.Train(BpeTrainer.Count(texts.SelectMany(Plain)), size - FirstPiece));

    /// <summary>Token ids of a text; control tokens are recognized by their texts. No BOS is added.</summary>
    public List<int> Encode(string text)
    {
        var ids = new List<int>(text.Length / 3);
        foreach (var (part, control) in Parts(text))
        {
            if (control)
            {
                ids.Add(_ids[part]);
                continue;
            }

            foreach (var stretch in PreTokens.Split(part.Replace(' ', PreTokens.Space)))
            {
                if (!_cache.TryGetValue(stretch, out var encoded))
                {
                    _cache[stretch] = encoded = EncodeStretch(stretch);
                }

                ids.AddRange(encoded);
            }
        }

        return ids;
    }

    /// <summary>The text of token ids, control tokens spelled out.</summary>
    public string Decode(IEnumerable<int> ids)
    {
        var bytes = new List<byte>();
        foreach (var id in ids)
        {
            if (Types[id] == 6)
            {
                bytes.Add((byte)(id - FirstByte));
            }
            else
            {
                bytes.AddRange(Encoding.UTF8.GetBytes(_texts[id].Replace(PreTokens.Space, ' ')));
            }
        }

        return Encoding.UTF8.GetString([.. bytes]);
    }

    private int[] EncodeStretch(string stretch)
    {
        var symbols = stretch.EnumerateRunes().Select(r => r.ToString()).ToList();
        while (true)
        {
            var best = -1;
            var score = float.NegativeInfinity;
            for (var i = 1; i < symbols.Count; i++)
            {
                if (_ids.TryGetValue(symbols[i - 1] + symbols[i], out var id) && Scores[id] > score)
                {
                    (best, score) = (i, Scores[id]);
                }
            }

            if (best < 0)
            {
                break;
            }

            symbols[best - 1] += symbols[best];
            symbols.RemoveAt(best);
        }

        return [.. symbols.SelectMany(s => _ids.TryGetValue(s, out var id) ? [id] : Encoding.UTF8.GetBytes(s).Select(b => FirstByte + b))];
    }

    private static IEnumerable<string> Plain(string text) => Parts(text).Where(p => !p.Control).Select(p => p.Part);

    private static IEnumerable<(string Part, bool Control)> Parts(string text)
    {
        var start = 0;
        for (var i = text.IndexOf('<', StringComparison.Ordinal); i >= 0; i = i + 1 < text.Length ? text.IndexOf('<', i + 1) : -1)
        {
            var token = Array.Find(Control, c => string.CompareOrdinal(text, i, c, 0, c.Length) == 0);
            if (token is null)
            {
                continue;
            }

            if (i > start)
            {
                yield return (text[start..i], false);
            }

            yield return (token, true);
            start = i + token.Length;
            i = start - 1;
        }

        if (start < text.Length)
        {
            yield return (text[start..], false);
        }
    }
}

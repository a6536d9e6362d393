using System.Buffers.Binary;
using System.Security.Cryptography;
using YaPO.Llama.DemoWorld.Vocabulary;
using YaPO.Llama.DemoWorld.Worlds;
using YaPO.Llama.Training.LanguageModels;

namespace YaPO.Llama.DemoWorld.Corpus;

/// <summary>
/// Training rows: every row starts with BOS and a fresh conversation, as at inference, and is filled up with more of them, the last one cut.
/// </summary>
public sealed class PassageRows : ITokenBatches
{
    private readonly Worlds.DemoWorld _world;
    private readonly PieceVocabulary _vocabulary;
    private readonly string _stream;
    private readonly Curriculum? _curriculum;

    /// <summary>An endless supply of rows, each a function of its number.</summary>
    /// <param name="world">The world.</param>
    /// <param name="vocabulary">Its vocabulary.</param>
    /// <param name="stream">Name of the stream of conversations.</param>
    /// <param name="curriculum">What comes first; null: the final text from the start.</param>
    public PassageRows(Worlds.DemoWorld world, PieceVocabulary vocabulary, string stream = "corpus", Curriculum? curriculum = null)
    {
        _curriculum = curriculum;
        _world = world;
        _vocabulary = vocabulary;
        _stream = stream;
        var sample = new int[16 * 257];
        Fill(0, 16, 257, sample);
        var bytes = new byte[sample.Length * 4];
        for (var i = 0; i < sample.Length; i++)
        {
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(i * 4), sample[i]);
        }

        Identity = $"demo-world seed:{world.Seed} curriculum:{curriculum?.Steps} first rows:{Convert.ToHexStringLower(SHA256.HashData(bytes))}";
    }

    /// <inheritdoc/>
    public string Identity { get; }

    /// <inheritdoc/>
    public void Fill(long stepIndex, int sequences, int rowLength, Span<int> rows)
    {
        var explicitness = _curriculum?.Explicitness(stepIndex) ?? 0;
        var topics = _curriculum?.Topics(_world, stepIndex) ?? _world.Topics;
        for (var b = 0; b < sequences; b++)
        {
            var writer = new PassageWriter(_world, $"{_stream}/{(stepIndex * sequences) + b}", topics, explicitness);
            var row = rows.Slice(b * rowLength, rowLength);
            while (row.Length > 0)
            {
                row[0] = PieceVocabulary.Bos;
                row = row[1..];
                var ids = _vocabulary.Encode(writer.Next().ToString());
                var n = Math.Min(ids.Count, row.Length);
                for (var i = 0; i < n; i++)
                {
                    row[i] = ids[i];
                }

                row = row[n..];
            }
        }
    }

    /// <summary>Rows that no training step uses.</summary>
    public static int[] Held(Worlds.DemoWorld world, PieceVocabulary vocabulary, int count, int rowLength)
    {
        var rows = new int[count * rowLength];
        new PassageRows(world, vocabulary, "held").Fill(0, count, rowLength, rows);
        return rows;
    }
}

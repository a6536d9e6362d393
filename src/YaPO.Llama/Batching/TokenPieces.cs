using YaPO.Llama.Models;

namespace YaPO.Llama.Batching;

/// <summary>The bytes of tokens and which of them end an answer, asked for once each.</summary>
internal sealed class TokenPieces(LlamaModel model)
{
    private readonly (byte[] Bytes, bool Ends)?[] known = new (byte[], bool)?[model.Info.VocabularySize];

    public ReadOnlySpan<byte> Bytes(int id) => Get(id).Bytes;

    public bool EndsGeneration(int id) => Get(id).Ends;

    private (byte[] Bytes, bool Ends) Get(int id) => known[id] ??= (model.TokenPiece(id), model.IsEndOfGeneration(id));
}

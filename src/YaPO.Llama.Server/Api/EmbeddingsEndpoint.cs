using System.Buffers.Binary;
using Microsoft.AspNetCore.Http;
using YaPO.Llama.Batching;
using YaPO.Llama.Models;
using YaPO.Llama.Server.Http;
using YaPO.Llama.Server.Requests;
using YaPO.Llama.Server.Vectors;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Server.Api;

/// <summary>
/// <c>/v1/embeddings</c>, for models whose file names a pooling: texts as vectors of length 1, under the same steering rules as completions. One request at a
/// time, in a context of its own beside the engine's.
/// </summary>
internal sealed class EmbeddingsEndpoint : IDisposable
{
    private const int MostWaiting = 64;

    private readonly ServerOptions options;
    private readonly PromptEncoder encoder;
    private readonly VectorCatalog vectors;
    private readonly Embedder? embedder;
    private readonly Turns turns = new(MostWaiting, "requests for embeddings");

    /// <summary>Creates the context where the model gives embeddings.</summary>
    public EmbeddingsEndpoint(ServerOptions options, LlamaModel model, PromptEncoder encoder, VectorCatalog vectors)
    {
        (this.options, this.encoder, this.vectors) = (options, encoder, vectors);
        embedder = Embedder.IsSupportedBy(model) ? new Embedder(model, options.EmbeddingTokens, options.Engine.Context) : null;
    }

    public async Task<object> EmbedAsync(Fields body, CancellationToken cancellation)
    {
        if (embedder is null)
        {
            throw new ApiException(501, "this model gives no embeddings: its file names no pooling (ARCHITECTURE.pooling_type)", code: "embeddings_not_supported");
        }

        var model = body.Text("model", 256);
        var settings = vectors.Settings(model, GenerationRequest.ReadSteering(body, options));
        var base64 = body.Text("encoding_format", 16) switch
        {
            null or "float" => false,
            "base64" => true,
            var other => throw ApiException.Bad("encoding_format", $"encoding_format is '{other}', expected float or base64"),
        };
        body.Refuse("dimensions", _ => false);
        var inputs = RawPrompt.ReadAll(body, "input", options.EmbeddingLimit, options.BodyLimit);
        var texts = inputs.Select((input, i) => Fitting(input.Encode(encoder), inputs.Count == 1 ? "input" : $"input[{i}]")).ToList();
        var embeddings = await turns.TakeAsync(() => texts.ConvertAll(text => embedder.Embed(text, settings, cancellation)), cancellation).ConfigureAwait(false);
        var tokens = texts.Sum(t => t.Count);
        return new
        {
            Object = "list",
            Data = embeddings.Select((e, i) => new { Object = "embedding", Index = i, Embedding = base64 ? (object)Base64(e) : e }),
            Model = model ?? options.ModelId,
            Usage = new { PromptTokens = tokens, TotalTokens = tokens },
            Steering = vectors.Describe(settings).Select(s => new ActingVector(s.Vector, s.Strength, s.Positions?.ToString())),
        };
    }

    public void Dispose()
    {
        embedder?.Dispose();
        turns.Dispose();
    }

    private PromptTokens Fitting(PromptTokens text, string path) => text.Count <= embedder!.TokenLimit
        ? text
        : throw ApiException.Bad(path, $"{path} has {text.Count} tokens; this server embeds {embedder.TokenLimit} (--embedding-tokens)", "context_length_exceeded");

    /// <summary>Little-endian F32, as OpenAI's clients ask for it.</summary>
    private static string Base64(float[] embedding)
    {
        var bytes = new byte[4 * embedding.Length];
        for (var i = 0; i < embedding.Length; i++)
        {
            BinaryPrimitives.WriteSingleLittleEndian(bytes.AsSpan(4 * i), embedding[i]);
        }

        return Convert.ToBase64String(bytes);
    }
}

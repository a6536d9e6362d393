using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using YaPO.Llama.Batching;
using YaPO.Llama.Models;
using YaPO.Llama.Server.Http;
using YaPO.Llama.Server.Requests;
using YaPO.Llama.Server.Vectors;

namespace YaPO.Llama.Server.Api;

/// <summary>Every route of the API.</summary>
internal sealed class Routes(ServerOptions options, BatchEngine engine, PromptEncoder encoder, VectorCatalog vectors, ServerMetrics metrics, Func<bool> draining) : IDisposable
{
    private readonly CompletionEndpoint completions = new(engine, vectors, metrics);
    private readonly EffectsEndpoint effects = new(options, engine, encoder, vectors);
    private readonly EmbeddingsEndpoint embeddings = new(options, engine.Model, encoder, vectors);
    private readonly ChatShape chatShape = new(encoder);
    private readonly TextShape textShape = new(encoder);
    private readonly long created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    public void Map(IEndpointRouteBuilder app)
    {
        app.MapPost("/v1/chat/completions", ChatAsync);
        app.MapPost("/v1/completions", CompleteAsync);
        app.MapPost("/v1/embeddings", async http =>
        {
            using var body = await ReadAsync(http).ConfigureAwait(false);
            await WriteAsync(http, await embeddings.EmbedAsync(new Fields(body.RootElement, ""), http.RequestAborted).ConfigureAwait(false)).ConfigureAwait(false);
        });
        app.MapGet("/v1/models", http => WriteAsync(http, new { Object = "list", Data = Models() }));
        app.MapGet("/v1/models/{id}", http =>
        {
            var id = (string)http.GetRouteValue("id")!;
            vectors.Settings(id, null);
            return WriteAsync(http, Model(id));
        });
        app.MapGet("/v1/steering/vectors", http => WriteAsync(http, new { Object = "list", Data = vectors.Vectors.Select(VectorDocument.Of), Default = Defaults() }));
        app.MapGet("/v1/steering/vectors/{name}", http => WriteAsync(
            http,
            vectors.Vectors.FirstOrDefault(v => v.Name == (string)http.GetRouteValue("name")!) is { } vector ? VectorDocument.Of(vector) : throw new ApiException(404, "there is no such vector here", code: "vector_not_found")));
        app.MapPost("/v1/steering/effects", async http =>
        {
            RequireChatTemplate();
            using var body = await ReadAsync(http).ConfigureAwait(false);
            await WriteAsync(http, await effects.MeasureAsync(http, new Fields(body.RootElement, "")).ConfigureAwait(false)).ConfigureAwait(false);
        });
        WebPage.Map(app);
        app.MapGet("/health", HealthAsync);
        app.MapGet("/metrics", http =>
        {
            http.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
            return http.Response.WriteAsync(metrics.Page());
        });
    }

    public void Dispose()
    {
        effects.Dispose();
        embeddings.Dispose();
    }

    private async Task ChatAsync(HttpContext http)
    {
        using var body = await ReadAsync(http).ConfigureAwait(false);
        var request = ChatRequest.Read(body.RootElement, options, vectors);
        RequireChatTemplate();
        var prompt = Chat(request.Messages);
        await completions.AnswerAsync(http, request.Generation, request.Generation.Model ?? options.ModelId, [prompt], chatShape, Access.Client(http)).ConfigureAwait(false);
    }

    private async Task CompleteAsync(HttpContext http)
    {
        using var body = await ReadAsync(http).ConfigureAwait(false);
        var request = CompletionRequest.Read(body.RootElement, options, vectors);
        var prompts = request.Prompts.Select(Text).ToList();
        await completions.AnswerAsync(http, request.Generation, request.Generation.Model ?? options.ModelId, prompts, textShape, Access.Client(http)).ConfigureAwait(false);
    }

    private void RequireChatTemplate()
    {
        if (!encoder.HasChatTemplate)
        {
            throw new ApiException(400, "the model has no chat template; use /v1/completions", code: "no_chat_template");
        }
    }

    private PromptTokens Chat(IReadOnlyList<ChatMessage> messages)
    {
        Require(encoder.CountChat(messages), engine.RequestTokens - 1, "messages");
        return encoder.Chat(messages);
    }

    private PromptTokens Text(RawPrompt raw)
    {
        var prompt = raw.Encode(encoder);
        Require(prompt.Count, engine.RequestTokens - 1, "prompt");
        return prompt;
    }

    private static void Require(int tokens, int most, string param)
    {
        if (tokens > most)
        {
            throw ApiException.Bad(param, $"{param} has {tokens} tokens; this server takes at most {most + 1} for prompt and answer together", "context_length_exceeded");
        }
    }

    private Task HealthAsync(HttpContext http)
    {
        var status = engine.Failure is not null ? "failed" : draining() ? "stopping" : "ok";
        http.Response.StatusCode = status == "ok" ? 200 : 503;
        return WriteAsync(http, new { Status = status });
    }

    private IEnumerable<object> Models() => vectors.Vectors.Select(v => Model($"{options.ModelId}+{v.Name}")).Prepend(Model(options.ModelId));

    private object Model(string id) => new { Id = id, Object = "model", Created = created, OwnedBy = "yapo-llama", ContextLength = engine.RequestTokens, Chat = encoder.HasChatTemplate };

    private IEnumerable<object> Defaults() => vectors.Default.Select(d => new { d.Vector, d.Strength, Positions = d.Positions?.ToString() });

    private static async Task<JsonDocument> ReadAsync(HttpContext http)
    {
        // Only this content type makes a browser ask before it sends a foreign page's request.
        if (!http.Request.HasJsonContentType())
        {
            throw new ApiException(415, "send the request as 'Content-Type: application/json'", code: "unsupported_media_type");
        }

        try
        {
            return await JsonDocument.ParseAsync(http.Request.Body, Json.Reading, http.RequestAborted).ConfigureAwait(false);
        }
        catch (JsonException e)
        {
            throw new ApiException(400, $"the body is no JSON: {e.Message}", code: "invalid_json");
        }
    }

    private static Task WriteAsync(HttpContext http, object value)
    {
        http.Response.ContentType = "application/json; charset=utf-8";
        return http.Response.Body.WriteAsync(Json.Bytes(value), http.RequestAborted).AsTask();
    }
}

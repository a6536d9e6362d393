using Microsoft.AspNetCore.Http;
using YaPO.Llama.Batching;
using YaPO.Llama.Inspection;
using YaPO.Llama.Server.Http;
using YaPO.Llama.Server.Requests;
using YaPO.Llama.Server.Vectors;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Server.Api;

/// <summary>
/// <c>/v1/steering/effects</c>: which of the vectors' features are active in a conversation, and what the vectors change there, measured at every position
/// but BOS. One conversation at a time, in a context of its own beside the engine's.
/// </summary>
internal sealed class EffectsEndpoint(ServerOptions options, BatchEngine engine, PromptEncoder encoder, VectorCatalog vectors) : IDisposable
{
    private const int MostFeatures = 24;
    private const int MostWaiting = 8;

    private readonly Turns turns = new(MostWaiting, "conversations to be measured");

    public async Task<object> MeasureAsync(HttpContext http, Fields body)
    {
        var settings = vectors.Settings(body.Text("model", 256), GenerationRequest.ReadSteering(body, options)).Where(s => s.Strength != 0).ToList();
        var messages = ChatRequest.ReadMessages(body, options);
        if (encoder.CountChat(messages) is var count && count > engine.RequestTokens)
        {
            throw ApiException.Bad("messages", $"messages has {count} tokens; this server takes {engine.RequestTokens}", "context_length_exceeded");
        }

        var prompt = encoder.Chat(messages);
        if (settings.Count == 0)
        {
            return new { Object = "list", Tokens = prompt.Count, Data = Array.Empty<object>() };
        }

        var everywhere = settings.ConvertAll(s => s with { Positions = SteeringPositions.All });
        var effects = await turns.TakeAsync(() => VectorEffect.Measure(engine.Model, everywhere, prompt.Ids, threads: 1, http.RequestAborted), http.RequestAborted).ConfigureAwait(false);
        return new { Object = "list", Tokens = prompt.Count, Data = effects.Select(Document) };
    }

    public void Dispose() => turns.Dispose();

    private object Document(VectorEffect effect)
    {
        var records = vectors.Records(effect.Vectors);
        var labels = records.Where(r => r.Record.Labels is not null)
            .SelectMany(r => r.Record.Index.Zip(r.Record.Labels!)).Where(l => l.Second.Length > 0).DistinctBy(l => l.First).ToDictionary(l => l.First, l => l.Second);
        return new
        {
            Names = records.Select(r => r.Name).Distinct(),
            effect.Layer,
            effect.SteeredTokens,
            effect.RelativeChange,
            ActiveFeatures = effect.Features.Count(f => f.Firing > 0),
            Features = effect.Features.Take(MostFeatures).Select(f => new { Index = f.Feature, f.Value, f.Firing, f.Acting, f.MeanChange, f.Effect, Label = labels.GetValueOrDefault(f.Feature) }),
        };
    }
}

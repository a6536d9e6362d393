using System.Text.Json;
using YaPO.Llama.Server.Http;
using YaPO.Llama.Server.Vectors;

namespace YaPO.Llama.Server.Requests;

/// <summary>The body of <c>/v1/completions</c>.</summary>
internal sealed record CompletionRequest(GenerationRequest Generation, IReadOnlyList<RawPrompt> Prompts)
{
    private const int MostLogProbs = 20;

    public static CompletionRequest Read(JsonElement json, ServerOptions options, VectorCatalog vectors)
    {
        var body = new Fields(json, "");
        var generation = GenerationRequest.Read(body, options, vectors);
        body.Refuse("suffix", v => v.ValueKind == JsonValueKind.String && v.ValueEquals(""));
        body.Refuse("echo", v => v.ValueKind == JsonValueKind.False);
        body.Refuse("best_of", v => v.ValueKind == JsonValueKind.Number && v.TryGetInt32(out var n) && n == generation.Choices);
        var prompts = RawPrompt.ReadAll(body, "prompt", options.ChoiceLimit, options.BodyLimit);
        return prompts.Count * generation.Choices <= options.ChoiceLimit
            ? new CompletionRequest(generation with { TopLogProbs = body.Integer("logprobs", 0, MostLogProbs) }, prompts)
            : throw ApiException.Bad("n", $"{prompts.Count} prompts with n = {generation.Choices} are {prompts.Count * generation.Choices} answers, this server gives {options.ChoiceLimit} per request");
    }
}

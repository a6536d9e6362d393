using System.Text.Json;
using YaPO.Llama.Batching;
using YaPO.Llama.Server.Http;
using YaPO.Llama.Server.Vectors;

namespace YaPO.Llama.Server.Requests;

/// <summary>A prompt of <c>/v1/completions</c>: text, or exact tokens.</summary>
internal sealed record RawPrompt(string? Text, int[]? Tokens)
{
    public PromptTokens Encode(PromptEncoder encoder) => Tokens is null ? encoder.Text(Text!) : encoder.Raw(Tokens);
}

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
        var prompts = ReadPrompts(body, options);
        return prompts.Count * generation.Choices <= options.ChoiceLimit
            ? new CompletionRequest(generation with { TopLogProbs = body.Integer("logprobs", 0, MostLogProbs) }, prompts)
            : throw ApiException.Bad("n", $"{prompts.Count} prompts with n = {generation.Choices} are {prompts.Count * generation.Choices} answers, this server gives {options.ChoiceLimit} per request");
    }

    private static IReadOnlyList<RawPrompt> ReadPrompts(Fields body, ServerOptions options)
    {
        var prompt = body["prompt"] ?? throw ApiException.Bad("prompt", "prompt is missing");
        if (prompt.ValueKind != JsonValueKind.Array)
        {
            return [One(prompt, "prompt", options)];
        }

        // An array of numbers is one prompt of tokens; of anything else, several prompts.
        if (prompt.GetArrayLength() == 0)
        {
            throw ApiException.Bad("prompt", "prompt is empty");
        }

        return prompt[0].ValueKind == JsonValueKind.Number
            ? [One(prompt, "prompt", options)]
            : [.. body.List("prompt", options.ChoiceLimit)!.Select(item => One(item.Value, item.Path, options))];
    }

    private static RawPrompt One(JsonElement json, string path, ServerOptions options) => json.ValueKind == JsonValueKind.Array
        ? new RawPrompt(null, [.. json.EnumerateArray().Select(id => id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out var n) ? n : throw ApiException.Bad(path, $"{path} must hold token ids, found {Fields.Kind(id)}"))])
        : new RawPrompt(Fields.Text(json, path, options.BodyLimit), null);
}

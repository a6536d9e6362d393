using System.Text.Json;
using YaPO.Llama.Batching;
using YaPO.Llama.Server.Http;

namespace YaPO.Llama.Server.Requests;

/// <summary>A prompt of <c>/v1/completions</c> or an input of <c>/v1/embeddings</c>: text, or exact tokens.</summary>
internal sealed record RawPrompt(string? Text, int[]? Tokens)
{
    /// <summary>Reads a field that holds one of them or an array of them.</summary>
    /// <param name="body">The request.</param>
    /// <param name="name">The field.</param>
    /// <param name="most">Entries of the array.</param>
    /// <param name="mostCharacters">Of one text.</param>
    public static IReadOnlyList<RawPrompt> ReadAll(Fields body, string name, int most, int mostCharacters)
    {
        var value = body[name] ?? throw ApiException.Bad(name, $"{name} is missing");
        if (value.ValueKind != JsonValueKind.Array)
        {
            return [One(value, name, mostCharacters)];
        }

        // An array of numbers is one prompt of tokens; of anything else, several prompts.
        if (value.GetArrayLength() == 0)
        {
            throw ApiException.Bad(name, $"{name} is empty");
        }

        return value[0].ValueKind == JsonValueKind.Number
            ? [One(value, name, mostCharacters)]
            : [.. body.List(name, most)!.Select(item => One(item.Value, item.Path, mostCharacters))];
    }

    public PromptTokens Encode(PromptEncoder encoder) => Tokens is null ? encoder.Text(Text!) : encoder.Raw(Tokens);

    private static RawPrompt One(JsonElement json, string path, int mostCharacters) => json.ValueKind == JsonValueKind.Array
        ? new RawPrompt(null, [.. json.EnumerateArray().Select(id => id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out var n) ? n : throw ApiException.Bad(path, $"{path} must hold token ids, found {Fields.Kind(id)}"))])
        : new RawPrompt(Fields.Text(json, path, mostCharacters), null);
}

using System.Text.Json;
using YaPO.Llama.Models;
using YaPO.Llama.Server.Http;
using YaPO.Llama.Server.Vectors;

namespace YaPO.Llama.Server.Requests;

/// <summary>The body of <c>/v1/chat/completions</c>.</summary>
internal sealed record ChatRequest(GenerationRequest Generation, IReadOnlyList<ChatMessage> Messages)
{
    private const int MostLogProbs = 20;

    public static ChatRequest Read(JsonElement json, ServerOptions options, VectorCatalog vectors)
    {
        var body = new Fields(json, "");
        var generation = GenerationRequest.Read(body, options, vectors);
        var top = body.Integer("top_logprobs", 0, MostLogProbs);
        var logprobs = body.Flag("logprobs");
        if (top > 0 && !logprobs)
        {
            throw ApiException.Bad("top_logprobs", "top_logprobs needs logprobs to be true");
        }

        return new ChatRequest(generation with { TopLogProbs = logprobs ? top ?? 0 : null }, ReadMessages(body, options));
    }

    /// <summary>The conversation of a body.</summary>
    public static IReadOnlyList<ChatMessage> ReadMessages(Fields body, ServerOptions options)
    {
        var messages = body.List("messages", options.MessageLimit) ?? throw ApiException.Bad("messages", "messages is missing");
        return messages.Count > 0
            ? [.. messages.Select(m => Message(m.Value, m.Path, options.BodyLimit))]
            : throw ApiException.Bad("messages", "messages is empty");
    }

    private static ChatMessage Message(JsonElement json, string path, int most)
    {
        var fields = new Fields(json, path);
        var role = fields.Text("role", 64) switch
        {
            "user" => ChatMessage.UserRole,
            "assistant" => ChatMessage.AssistantRole,
            "system" or "developer" => ChatMessage.SystemRole,
            null => throw ApiException.Bad(fields.Path("role"), $"{fields.Path("role")} is missing"),
            var other => throw ApiException.Bad(fields.Path("role"), $"{fields.Path("role")} '{other}' is not supported; expected user, assistant, system or developer"),
        };
        fields.Refuse("tool_calls", v => v.ValueKind == JsonValueKind.Array && v.GetArrayLength() == 0);
        var content = fields["content"] ?? throw ApiException.Bad(fields.Path("content"), $"{fields.Path("content")} is missing");
        return new ChatMessage(role, content.ValueKind == JsonValueKind.Array
            ? string.Concat(fields.List("content", 64)!.Select(part => Part(part.Value, part.Path, most)))
            : Fields.Text(content, fields.Path("content"), most));
    }

    private static string Part(JsonElement json, string path, int most)
    {
        var fields = new Fields(json, path);
        return fields.Text("type", 64) == "text"
            ? fields.Text("text", most) ?? throw ApiException.Bad(fields.Path("text"), $"{fields.Path("text")} is missing")
            : throw ApiException.Bad(fields.Path("type"), $"{fields.Path("type")} must be 'text': this model reads nothing else");
    }
}

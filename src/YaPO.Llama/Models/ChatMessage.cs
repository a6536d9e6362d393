namespace YaPO.Llama.Models;

/// <summary>One turn of a conversation.</summary>
/// <param name="Role"><c>system</c>, <c>user</c> or <c>assistant</c>.</param>
/// <param name="Content">The text.</param>
public sealed record ChatMessage(string Role, string Content)
{
    /// <summary>The role of instructions.</summary>
    public const string SystemRole = "system";

    /// <summary>The role of the person.</summary>
    public const string UserRole = "user";

    /// <summary>The role of the model.</summary>
    public const string AssistantRole = "assistant";

    /// <summary>A system turn.</summary>
    public static ChatMessage System(string content) => new(SystemRole, content);

    /// <summary>A user turn.</summary>
    public static ChatMessage User(string content) => new(UserRole, content);

    /// <summary>An answer of the model.</summary>
    public static ChatMessage Assistant(string content) => new(AssistantRole, content);

    /// <summary>The same conversation without a system role: leading system texts go in front of the first user turn. Null where there is nothing to fold.</summary>
    internal static IReadOnlyList<ChatMessage>? FoldSystem(IReadOnlyList<ChatMessage> messages)
    {
        var instructions = messages.TakeWhile(m => m.Role == SystemRole).ToArray();
        if (instructions.Length == 0 || messages.Count == instructions.Length || messages[instructions.Length].Role != UserRole)
        {
            return null;
        }

        var text = string.Join("\n\n", instructions.Select(m => m.Content).Where(t => t.Length > 0));
        var first = messages[instructions.Length];
        return [text.Length == 0 ? first : User($"{text}\n\n{first.Content}"), .. messages.Skip(instructions.Length + 1)];
    }
}

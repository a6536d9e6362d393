using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sessions;

/// <summary>Where the tokens in front of an answer come from, and what gives way when they no longer fit.</summary>
internal abstract class Prompt
{
    public int DroppedTurns { get; protected set; }

    public abstract List<SequenceToken> Tokens { get; }

    /// <summary>Drops something; false when nothing can be dropped.</summary>
    public abstract bool MakeRoom();

    protected static YapoException TooLong(int found, int room) => new(
        YapoErrorKind.InvalidArgument,
        $"the prompt has {found} tokens, the context holds {room}: shorten it or use a larger context (--ctx-size)");
}

/// <summary>Raw tokens: nothing can give way.</summary>
internal sealed class RawPrompt : Prompt
{
    public RawPrompt(SteeredSession session, IReadOnlyList<int> ids)
    {
        if (ids.Count == 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "the prompt is empty and the model has no BOS token to start from");
        }

        Tokens = Conversation.RawTokens(session.Model, [.. ids]);
        if (Tokens.Count > session.ContextSize)
        {
            throw TooLong(Tokens.Count, session.ContextSize);
        }
    }

    public override List<SequenceToken> Tokens { get; }

    public override bool MakeRoom() => false;
}

/// <summary>The conversation: the oldest question and its answers give way first, the instructions and the last question never.</summary>
internal sealed class ChatPrompt : Prompt
{
    private readonly SteeredSession session;
    private List<SequenceToken> tokens;

    public ChatPrompt(SteeredSession session, GenerationOptions generation)
    {
        this.session = session;
        if (session.Turns.Count == 0 || session.Turns[^1].Message.Role != ChatMessage.UserRole)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "there is nothing to answer: the last turn must be the user's");
        }

        // Room for a whole answer where it costs history, but never more than a quarter of the context.
        var reserve = Math.Clamp(generation.MaxTokens, 1, Math.Max(1, session.ContextSize / 4));
        tokens = Render();
        Turn[] before = [.. session.Turns];
        while (tokens.Count + reserve > session.ContextSize && MakeRoom())
        {
        }

        if (tokens.Count > session.ContextSize)
        {
            // A question that cannot be answered must not cost the conversation before it.
            session.Turns.Clear();
            session.Turns.AddRange(before);
            throw TooLong(tokens.Count, session.ContextSize);
        }
    }

    public override List<SequenceToken> Tokens => tokens;

    public override bool MakeRoom()
    {
        var turns = session.Turns;
        var first = turns.FindIndex(t => t.Message.Role != ChatMessage.SystemRole);
        var next = turns.FindIndex(first + 1, t => t.Message.Role == ChatMessage.UserRole);
        if (first < 0 || next < 0)
        {
            return false;
        }

        turns.RemoveRange(first, next - first);
        DroppedTurns += next - first;
        tokens = Render();
        return true;
    }

    private List<SequenceToken> Render() => Conversation.Tokens(session.Model, session.Turns, session.Options.TemplateOverride);
}

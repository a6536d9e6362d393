using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sessions;

/// <summary>One answer while it is being generated.</summary>
internal sealed class AnswerRun(SteeredSession session, Prompt prompt, GenerationOptions generation)
{
    private readonly StringBuilder text = new();
    private readonly List<int> answer = [];
    private readonly Stopwatch clock = new();
    private FinishReason finish = FinishReason.Cancelled;
    private TimeSpan promptTime;
    private int promptTokens;
    private int evaluated;

    /// <summary>Whether the prompt was evaluated.</summary>
    public bool Started { get; private set; }

    public async IAsyncEnumerable<string> StreamAsync([EnumeratorCancellation] CancellationToken cancellation)
    {
        clock.Start();
        using var sampler = new Sampler(session.Model, generation.Sampler);
        var utf8 = new Utf8Assembler();
        List<SequenceToken> sequence = [.. prompt.Tokens];
        promptTokens = sequence.Count;
        while (answer.Count < generation.MaxTokens)
        {
            var tokens = sequence;
            var row = await Task.Run(() => session.Cache.Evaluate(tokens, session.Steering, session.Options.KeepCache, cancellation), CancellationToken.None).ConfigureAwait(false);
            if (!Started)
            {
                (Started, promptTime, evaluated) = (true, clock.Elapsed, session.Cache.LastEvaluated);
            }

            var id = sampler.Sample(session.Context, row);
            if (session.Model.IsEndOfGeneration(id) && !generation.IgnoreEnd)
            {
                finish = FinishReason.Stop;
                break;
            }

            answer.Add(id);
            if (utf8.Append(session.Model.TokenPiece(id)) is { Length: > 0 } piece)
            {
                text.Append(piece);
                yield return piece;
            }

            sequence.Add(new SequenceToken(id, TokenRole.Answer));
            if (sequence.Count > session.ContextSize && !MakeRoom(ref sequence))
            {
                break;
            }
        }

        if (finish != FinishReason.Stop)
        {
            finish = FinishReason.Length;
        }

        if (utf8.Flush() is { Length: > 0 } rest)
        {
            text.Append(rest);
            yield return rest;
        }
    }

    public GeneratedAnswer Result() => new(
        text.ToString(), [.. answer], finish, promptTokens, evaluated, promptTime, clock.Elapsed - promptTime, prompt.DroppedTurns);

    private bool MakeRoom(ref List<SequenceToken> sequence)
    {
        do
        {
            if (!prompt.MakeRoom())
            {
                return false;
            }

            sequence = [.. prompt.Tokens, .. answer.Select(id => new SequenceToken(id, TokenRole.Answer))];
        }
        while (sequence.Count > session.ContextSize);
        return true;
    }
}

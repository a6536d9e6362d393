using System.Text;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Chat;

/// <summary>
/// Reads lines, answers turns and carries out commands. Answers go to stdout, everything else to stderr, so that a piped chat is nothing but
/// its answers. The first Ctrl+C stops the answer, the second (or the first at the prompt) leaves.
/// </summary>
internal sealed class ChatLoop(
    CommandConsole console, SteeredSession session, ChatSteering steering, FeatureSource features, GenerationOptions generation, Func<string, LoadedVector> loadVector, bool compare)
{
    private bool _compare = compare;
    private int _lastExit = ExitCodes.Success;

    /// <summary>Runs until the input ends or /quit; the exit code.</summary>
    public async Task<int> RunAsync(CancellationToken cancellation)
    {
        while (true)
        {
            if (console.IsInputInteractive)
            {
                console.WriteErrorRaw("\n> ");
            }

            // The read itself cannot be cancelled; when Ctrl+C comes, it is left behind and ends with the process.
            var line = await Task.Run(console.In.ReadLine, CancellationToken.None).WaitAsync(cancellation).ConfigureAwait(false);
            var parsed = line is null ? new ChatLine.Quit() : ChatLine.Parse(line);
            switch (parsed)
            {
                case ChatLine.Quit:
                    // A script whose last answer failed or was cut off must be able to tell.
                    return line is null && !console.IsInputInteractive ? _lastExit : ExitCodes.Success;
                case ChatLine.Message message:
                    await AnswerAsync(message.Text, cancellation).ConfigureAwait(false);
                    break;
                default:
                    Carry(parsed);
                    break;
            }
        }
    }

    private void Carry(ChatLine command)
    {
        try
        {
            switch (command)
            {
                case ChatLine.Help:
                    ChatText.Help(console);
                    break;
                case ChatLine.Reset:
                    session.Reset();
                    console.Note("the conversation starts again");
                    break;
                case ChatLine.Compare(var on):
                    _compare = on ?? !_compare;
                    console.Note(_compare ? "every answer is followed by the unsteered one; the steered one counts for the conversation" : "steered answers only");
                    break;
                case ChatLine.Features:
                    ShowFeatures();
                    break;
                case ChatLine.Strength(null, _):
                    ChatText.Vectors(console, steering);
                    break;
                case ChatLine.Strength({ } value, var number):
                    Change(() => steering.SetStrength((float)value, number));
                    break;
                case ChatLine.Vector(null):
                    ChatText.Vectors(console, steering);
                    break;
                case ChatLine.Vector(("off" or "on") and { } state):
                    Change(() => steering.Switch(state == "on"));
                    break;
                case ChatLine.Vector({ } spec):
                    var loaded = spec.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(loadVector).ToList();
                    Change(() => steering.Replace(loaded));
                    break;
                case ChatLine.Feature(var index, var value):
                    Change(() => steering.TurnFeature(index, (float)value));
                    break;
                case ChatLine.Wrong(var expected):
                    console.Error.WriteLine(expected);
                    break;
            }
        }
        catch (YapoException e)
        {
            // A typo should cost a line, not the conversation.
            console.Error.WriteLine(e.Message);
        }
    }

    private void ShowFeatures()
    {
        if (features.Sae is { } sae && session.ReadLastAnswer(sae) is { Count: > 0 } answer)
        {
            ChatText.Fired(console, session.Model, sae, answer);
        }
        else
        {
            ChatText.Features(console, steering);
        }
    }

    // What earlier answers were computed with no longer holds; the session evaluates them again under the new steering.
    private void Change(Action change)
    {
        change();
        session.Steering = steering.Settings;
        ChatText.Vectors(console, steering);
    }

    private async Task AnswerAsync(string text, CancellationToken cancellation)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        _lastExit = ExitCodes.Success;
        using (console.Interrupts.Catch(stop.Cancel))
        {
            try
            {
                if (_compare)
                {
                    await CompareAsync(text, stop.Token).ConfigureAwait(false);
                }
                else
                {
                    await foreach (var piece in session.AskAsync(text, generation, stop.Token).ConfigureAwait(false))
                    {
                        console.Out.Write(piece);
                    }

                    console.Out.WriteLine();
                }
            }
            catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
            {
                console.Out.WriteLine();
                console.Note("stopped; Ctrl+C again leaves");
                _lastExit = ExitCodes.Interrupted;
            }
            catch (YapoException e)
            {
                // Such as a turn longer than the context: the conversation goes on without it.
                console.Error.WriteLine($"error: {e.Message}");
                _lastExit = ExitCodes.For(e);
                return;
            }
        }

        if (session.LastAnswer is { DroppedTurns: > 0 and var dropped })
        {
            console.Note($"the context is full: the oldest {dropped} turns were dropped");
        }

        if (session.LastAnswer is { Finish: FinishReason.Length, Tokens.Count: var count } && _lastExit == ExitCodes.Success)
        {
            console.Note($"cut after {count} tokens; -n sets the longest answer");
        }
    }

    // Both answers are generated side by side; the steered one is shown as it comes, the other one after it.
    private async Task CompareAsync(string text, CancellationToken cancellation)
    {
        var plain = new StringBuilder();
        console.Out.WriteLine("steered:");
        try
        {
            await foreach (var piece in session.AskComparedAsync(text, generation, cancellation).ConfigureAwait(false))
            {
                if (piece.Steered)
                {
                    console.Out.Write(piece.Text);
                }
                else
                {
                    plain.Append(piece.Text);
                }
            }
        }
        finally
        {
            console.Out.WriteLine();
            console.Out.WriteLine();
            console.Out.WriteLine("unsteered:");
            console.Out.WriteLine(plain.ToString());
        }
    }
}

using System.Runtime.InteropServices;
using YaPO.Llama.Cli.Errors;

namespace YaPO.Llama.Cli.Terminal;

/// <summary>
/// Ctrl+C and termination. The first press cancels <see cref="Token"/>, unless a command has taken it over with <see cref="Catch"/>
/// (chat stops the answer and goes on). A second press after a cancelled token leaves at once: files are written beside their
/// target and renamed, so nothing half-written stays.
/// </summary>
internal sealed class Interrupts : IDisposable
{
    private readonly CancellationTokenSource source = new();
    private readonly List<PosixSignalRegistration> registrations = [];
    private readonly Action leave;
    private Action? caught;

    /// <summary>Interrupts that only a test raises, through <see cref="Raise"/>; <paramref name="leave"/> stands for leaving the process.</summary>
    public Interrupts(Action? leave = null) => this.leave = leave ?? (() => { });

    /// <summary>Cancelled by the first Ctrl+C.</summary>
    public CancellationToken Token => source.Token;

    /// <summary>The interrupts of this process.</summary>
    public static Interrupts ForProcess()
    {
        var interrupts = new Interrupts(() => Environment.Exit(ExitCodes.Interrupted));
        foreach (var signal in new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM })
        {
            interrupts.registrations.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true; // or the runtime ends the process here
                interrupts.Raise(signal == PosixSignal.SIGINT);
            }));
        }

        return interrupts;
    }

    /// <summary>Until the result is disposed, the next Ctrl+C calls <paramref name="onInterrupt"/> instead, once; the one after that is an ordinary one.</summary>
    public IDisposable Catch(Action onInterrupt)
    {
        Interlocked.Exchange(ref caught, onInterrupt);
        return new Release(this);
    }

    /// <summary>One press of Ctrl+C, or (<paramref name="canBeCaught"/> false) a request to end the process.</summary>
    internal void Raise(bool canBeCaught = true)
    {
        try
        {
            if (canBeCaught && Interlocked.Exchange(ref caught, null) is { } handler)
            {
                handler();
            }
            else if (source.IsCancellationRequested)
            {
                leave();
            }
            else
            {
                source.Cancel();
            }
        }
        catch (ObjectDisposedException)
        {
            // What the press was to stop has ended just now; on a signal's thread an exception would end the process.
        }
    }

    public void Dispose()
    {
        foreach (var registration in registrations)
        {
            registration.Dispose();
        }

        source.Dispose();
    }

    private sealed class Release(Interrupts owner) : IDisposable
    {
        public void Dispose() => Interlocked.Exchange(ref owner.caught, null);
    }
}

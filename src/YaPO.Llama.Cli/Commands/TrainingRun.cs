using System.Globalization;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Training.Checkpoints;
using YaPO.Llama.Training.Progress;

namespace YaPO.Llama.Cli.Commands;

/// <summary>A training job as every training command runs it: progress on stderr, and after Ctrl+C where the state is.</summary>
internal static class TrainingRun
{
    /// <summary>Runs <paramref name="train"/> off the calling thread.</summary>
    /// <param name="console">Where progress goes.</param>
    /// <param name="output">The file being made, for the progress line.</param>
    /// <param name="checkpointFolder">Where an interrupted run leaves its state; null: nowhere.</param>
    /// <param name="train">The job.</param>
    /// <exception cref="OperationCanceledException">Interrupted; what to do next has been said.</exception>
    public static async Task<T> RunAsync<T>(CommandConsole console, string output, string? checkpointFolder, Func<Action<TrainingProgress>, T> train)
    {
        ProgressLine? line = null;
        try
        {
            return await Task.Run(
                () => train(p => (line ??= console.Progress($"training {Path.GetFileName(output)}", p.TotalSteps, "steps"))
                    .Report(p.Step, double.IsNaN(p.Loss) ? p.Details : string.Create(CultureInfo.InvariantCulture, $"loss {p.Loss:0.000}, {p.Details}"), p.Remaining > TimeSpan.Zero ? p.Remaining : null)),
                CancellationToken.None).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            console.EndProgress();
            console.Note(checkpointFolder is null ? "stopped; nothing was kept. With --checkpoint DIR a stopped run can go on where it was."
                : CheckpointFolder.Holds(checkpointFolder)
                ? $"stopped; the state is in {checkpointFolder}. Go on with the same command and --resume."
                : "stopped before the first step: there is nothing to resume yet");
            throw;
        }
        finally
        {
            console.EndProgress();
        }
    }
}

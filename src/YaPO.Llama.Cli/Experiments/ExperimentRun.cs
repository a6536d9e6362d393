using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Experiments;

/// <summary>How the commands that train and judge start and stop.</summary>
internal static class ExperimentRun
{
    /// <summary>Checks files before long work starts, runs it off the calling thread, and says after Ctrl+C how to go on.</summary>
    public static async Task<int> RunAsync(CommandConsole console, ExperimentSettings settings, IEnumerable<string?> files, Action run, string? output = null)
    {
        string[] inputs = [.. settings.Inputs, .. files.OfType<string>()];
        foreach (var input in inputs)
        {
            InputFile.Require(input);
        }

        if (output is not null)
        {
            OutputFile.Require(output, inputs);
        }

        if (settings.Report is { } report)
        {
            OutputFile.Require(report, [.. inputs, output]);
        }

        console.RouteNativeLog();
        try
        {
            await Task.Run(run, CancellationToken.None).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (settings.Folder is { } folder)
        {
            console.EndProgress();
            console.Note($"stopped; what is done is in {folder}. Go on with the same command and --resume.");
            throw;
        }
        finally
        {
            console.EndProgress();
        }

        return ExitCodes.Success;
    }
}

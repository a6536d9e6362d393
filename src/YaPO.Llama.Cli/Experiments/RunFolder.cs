using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using YaPO.Llama.Evaluation.Runs;
using YaPO.Llama.Steering;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Progress;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Cli.Experiments;

/// <summary>What a training came to, as far as the file does not record it.</summary>
/// <param name="ValidationLoss">On validation pairs at direction +1; null without such pairs.</param>
/// <param name="Steps">Optimizer steps; 0 for caa and sas.</param>
/// <param name="Seconds">Wall time.</param>
internal sealed record TrainedRun(double? ValidationLoss, long Steps, double Seconds);

/// <summary>
/// Where a command that trains several vectors and measures them keeps what it has: vectors, training states and logs, and measurements. Whatever a kill leaves is
/// whole, and the same command with --resume ends with the same result. Without a folder everything lives in a temporary one.
/// </summary>
internal sealed class RunFolder : IDisposable
{
    // A file name may have 255 bytes on most systems.
    private const int LongestPart = 64;

    private readonly string _path;
    private readonly bool _temporary;

    private RunFolder(string path, bool temporary, MeasurementLog log) => (_path, _temporary, Log) = (path, temporary, log);

    /// <summary>What was measured.</summary>
    public MeasurementLog Log { get; }

    /// <summary>Opens the folder.</summary>
    /// <param name="path">Null: a temporary one.</param>
    /// <param name="resume">Go on with what is there.</param>
    /// <param name="config">Canonical JSON of everything that decides the result.</param>
    public static RunFolder Open(string? path, bool resume, string config)
    {
        if (path is null)
        {
            return new RunFolder(Directory.CreateTempSubdirectory("yapo-run-").FullName, true, MeasurementLog.InMemory());
        }

        try
        {
            Directory.CreateDirectory(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot create the folder {path}: {e.Message}", e);
        }

        return new RunFolder(path, false, MeasurementLog.Open(Path.Combine(path, "measurements.jsonl"), config, resume));
    }

    /// <summary>The JSON Lines log of a training.</summary>
    public string LogOf(string key) => Path.Combine(Made("logs"), key + ".jsonl");

    /// <summary>Trains a vector, unless it is here already.</summary>
    /// <param name="key">Names the run; letters, digits, dots and hyphens.</param>
    /// <param name="options">How; output, checkpoint and log are set here.</param>
    /// <param name="capture">Residuals of the pairs.</param>
    /// <param name="progress">After every step.</param>
    /// <param name="cancellation">Stops, with a checkpoint.</param>
    public (SteeringFile File, TrainedRun Run) Train(string key, SteeringTrainingOptions options, PairCapture capture, Action<TrainingProgress>? progress, CancellationToken cancellation)
    {
        var output = Path.Combine(Made("vectors"), key + ".ysv");
        var run = Log.Get($"train/{key}", () =>
        {
            // A vector without a line in the log was written just before a kill; its checkpoint is that of its last step, so this costs little.
            var result = SteeringTrainer.Train(
                options with { Output = output, CheckpointFolder = Path.Combine(Made("training"), key), Resume = true, LogPath = LogOf(key), Name = key, Captured = capture }, null, progress, cancellation);
            return new TrainedRun(result.Optimized?.Validation?.Loss, result.Optimized?.Steps ?? 0, result.Seconds);
        });
        return (SteeringFile.Load(output), run);
    }

    public void Dispose()
    {
        Log.Dispose();
        if (_temporary)
        {
            Directory.Delete(_path, recursive: true);
        }
    }

    /// <summary>
    /// A run's name from its parts, one that files can have. Parts that differ give names that differ: where a character cannot stand in it, a hash of the part does, since two names in a script other
    /// than ours would be the same row of underscores, and the second run would take the first one's vector for its own.
    /// </summary>
    public static string Key(params object[] parts) => string.Join('-', parts.Select(p =>
    {
        var text = string.Create(CultureInfo.InvariantCulture, $"{p}");
        var plain = string.Concat(text.Take(LongestPart).Select(c => char.IsAsciiLetterOrDigit(c) || c == '.' ? c : '_'));
        return plain == text ? plain : $"{plain}.{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..12]}";
    }));

    private string Made(string name) => Directory.CreateDirectory(Path.Combine(_path, name)).FullName;
}

using System.Text;
using System.Text.Json;
using YaPO.Llama.IO;

namespace YaPO.Llama.Training.Progress;

/// <summary>
/// A JSON Lines log, one object per step, flushed line by line so that a killed run keeps what it wrote. Opened for a resumed run,
/// it drops the lines of steps after the checkpoint: those steps are run again.
/// </summary>
public sealed class TrainingLog : IDisposable
{
    private readonly StreamWriter? _writer;
    private readonly string? _path;

    /// <summary>Opens the log; <paramref name="path"/> null makes a log that keeps nothing.</summary>
    /// <param name="path">The file; truncated when <paramref name="resumeAfter"/> is 0.</param>
    /// <param name="resumeAfter">The last step whose line is kept.</param>
    /// <exception cref="YapoException">The file cannot be written.</exception>
    public TrainingLog(string? path, long resumeAfter = 0)
    {
        _path = path;
        if (path is null)
        {
            return;
        }

        try
        {
            var resumed = resumeAfter > 0 && File.Exists(path);
            if (resumed)
            {
                // A kill in the middle of this must not cost the lines of the steps before the checkpoint, which are not run again.
                var kept = File.ReadLines(path).Where(line => StepOf(line) is { } step && step <= resumeAfter).ToList();
                AtomicFile.Write(path, Encoding.UTF8.GetBytes(string.Concat(kept.Select(line => line + "\n"))));
            }

            _writer = new StreamWriter(path, append: resumed, new UTF8Encoding(false)) { AutoFlush = true, NewLine = "\n" };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot write the log {path}: {e.Message}", e);
        }
    }

    /// <summary>Writes one line; values that are not finite are written as null.</summary>
    public void Write(long step, params ReadOnlySpan<(string Name, double Value)> fields)
    {
        if (_writer is null)
        {
            return;
        }

        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteNumber("step", step);
            foreach (var (name, value) in fields)
            {
                if (double.IsFinite(value))
                {
                    json.WriteNumber(name, value);
                }
                else
                {
                    json.WriteNull(name);
                }
            }

            json.WriteEndObject();
        }

        try
        {
            _writer.WriteLine(Encoding.UTF8.GetString(buffer.ToArray()));
        }
        catch (Exception e) when (FileFailure.Is(e))
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot write the log {_path}: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        try
        {
            _writer?.Dispose();
        }
        catch (Exception e) when (FileFailure.Is(e))
        {
            // What the disk had no room for has been reported by Write.
        }
    }

    private static long? StepOf(string line)
    {
        try
        {
            using var document = JsonDocument.Parse(line);
            return document.RootElement.TryGetProperty("step", out var step) && step.TryGetInt64(out var value) ? value : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return null; // the line a kill cut short, or none of ours
        }
    }
}

using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace YaPO.Llama.Evaluation.Runs;

/// <summary>
/// Measurements that survive the process: JSON Lines, the first line the configuration, then one <c>{"key", "value"}</c> for each, flushed as it is made. A run
/// that is killed at any moment goes on with what it had, and numbers read back are the numbers that were measured (doubles round-trip).
/// </summary>
public sealed class MeasurementLog : IDisposable
{
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    private readonly Dictionary<string, string> _values = [];
    private readonly string _path;
    private readonly StreamWriter? _writer;

    private MeasurementLog(string path, StreamWriter? writer) => (_path, _writer) = (path, writer);

    /// <summary>Measurements made in this process.</summary>
    public int Made { get; private set; }

    /// <summary>Measurements known, earlier ones included.</summary>
    public int Count => _values.Count;

    /// <summary>A log that keeps its values in memory only.</summary>
    public static MeasurementLog InMemory() => new("", null);

    /// <summary>Opens or creates the file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="config">Canonical JSON of everything that decides the numbers.</param>
    /// <param name="resume">Go on with what the file holds; without it a file that is already there is refused.</param>
    /// <exception cref="YapoException">There is a file of another configuration, or a damaged one.</exception>
    public static MeasurementLog Open(string path, string config, bool resume)
    {
        var lines = Array.Empty<string>();
        try
        {
            if (File.Exists(path))
            {
                lines = resume ? File.ReadAllLines(path) : throw new YapoException(YapoErrorKind.InvalidArgument, $"{path} is there already. Go on with it (--resume), or use an empty folder");
            }

            if (lines.Length > 0 && lines[0] != config)
            {
                throw new YapoException(YapoErrorKind.Mismatch, $"{path} belongs to a run with other settings or data.\n{IO.ConfigDifference.Text(lines[0], config)}\nUse the same settings to resume, or another folder");
            }

            var known = Read(path, lines);
            IO.AtomicFile.Write(path, stream =>
            {
                using var whole = new StreamWriter(stream, new UTF8Encoding(false), leaveOpen: true) { NewLine = "\n" };
                whole.WriteLine(config);
                foreach (var (key, value) in known)
                {
                    whole.WriteLine(Line(key, value)); // without the line that a kill cut short
                }
            });
            var log = new MeasurementLog(path, new StreamWriter(path, append: true, new UTF8Encoding(false)) { AutoFlush = true, NewLine = "\n" });
            foreach (var (key, value) in known)
            {
                log._values[key] = value;
            }

            return log;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot use {path}: {e.Message}", e);
        }
    }

    /// <summary>The value of this name, measured unless it is known.</summary>
    public T Get<T>(string key, Func<T> measure)
    {
        ArgumentNullException.ThrowIfNull(measure);
        if (!_values.TryGetValue(key, out var text))
        {
            _values[key] = text = JsonSerializer.Serialize(measure(), Json);
            _writer?.WriteLine(Line(key, text));
            Made++;
        }

        try
        {
            var value = JsonSerializer.Deserialize<T>(text, Json); // what was just measured too, so that a resumed run cannot differ
            return value is null && Nullable.GetUnderlyingType(typeof(T)) is null ? throw new JsonException("there is none") : value!; // a number that may be missing is measured as null
        }
        catch (JsonException e)
        {
            throw new YapoException(YapoErrorKind.Format, $"{_path}: the value of '{key}' cannot be read: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _writer?.Dispose();

    private static string Line(string key, string value) => $"{{\"key\":{JsonSerializer.Serialize(key)},\"value\":{value}}}";

    private static List<(string Key, string Value)> Read(string path, string[] lines)
    {
        var known = new List<(string, string)>();
        for (var i = 1; i < lines.Length; i++)
        {
            try
            {
                using var line = JsonDocument.Parse(lines[i]);
                known.Add((line.RootElement.GetProperty("key").GetString() ?? throw new JsonException("the key is null"), line.RootElement.GetProperty("value").GetRawText()));
            }
            catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
            {
                if (i < lines.Length - 1)
                {
                    throw new YapoException(YapoErrorKind.Format, $"{path}, line {i + 1} is damaged: {e.Message}. Remove the folder or start without --resume", e);
                }
            }
        }

        return known;
    }
}

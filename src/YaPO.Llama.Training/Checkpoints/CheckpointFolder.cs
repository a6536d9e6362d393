using System.Text.Json;
using YaPO.Llama.IO;

namespace YaPO.Llama.Training.Checkpoints;

/// <summary>What a checkpoint says about the run it belongs to.</summary>
/// <param name="Kind">The trainer that wrote it.</param>
/// <param name="Step">Steps done.</param>
/// <param name="Seconds">Time spent so far.</param>
/// <param name="Config">Canonical JSON of everything that decides the result.</param>
/// <param name="StateFile">Path of the state written for this step.</param>
public sealed record Checkpoint(string Kind, long Step, double Seconds, string Config, string StateFile);

/// <summary>
/// A folder that holds the latest state of one run. A new state is written beside the old one, then <c>checkpoint.json</c>, which names
/// the valid state and holds the SHA-256 of each of its files, is replaced atomically, then the old state is deleted: a kill at any moment leaves one whole
/// checkpoint, and a state that was damaged since is refused instead of trained on. A step that is saved twice (the second time after a phase has ended, say) gets a second name: under the same one
/// a kill between the two writes would leave a state that is not the one that the index describes.
/// </summary>
public sealed class CheckpointFolder
{
    private const int FormatVersion = 2;
    private readonly string _kind;
    private readonly string _config;
    private string? _current;

    /// <summary>Opens (and creates) the folder.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="kind">The trainer's name, such as <c>steering</c>.</param>
    /// <param name="config">Canonical JSON of everything that decides the result; a checkpoint of another configuration is refused.</param>
    public CheckpointFolder(string path, string kind, string config)
    {
        (Path, _kind, _config) = (System.IO.Path.GetFullPath(path), kind, config);
        try
        {
            Directory.CreateDirectory(Path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot create the checkpoint folder {path}: {e.Message}", e);
        }
    }

    /// <summary>The folder's full path.</summary>
    public string Path { get; }

    private string Index => System.IO.Path.Combine(Path, "checkpoint.json");

    /// <summary>Is there a checkpoint in a folder?</summary>
    public static bool Holds(string path) => File.Exists(System.IO.Path.Combine(path, "checkpoint.json"));

    /// <summary>The latest checkpoint, or null where there is none.</summary>
    /// <exception cref="YapoException">It or one of its files is damaged, or it is of another trainer or configuration.</exception>
    public Checkpoint? Load()
    {
        if (!File.Exists(Index))
        {
            return null;
        }

        Checkpoint found;
        var sums = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(Index));
            var root = json.RootElement;
            var version = root.GetProperty("format_version").GetInt32();
            if (version != FormatVersion)
            {
                throw new YapoException(YapoErrorKind.Format, $"{Index} has format version {version}; this program reads {FormatVersion}");
            }

            var step = root.GetProperty("step").GetInt64();
            var names = StateNames(step);
            foreach (var file in root.GetProperty("sha256").EnumerateObject())
            {
                sums[file.Name] = file.Value.GetString() ?? "";
            }

            var state = names.FirstOrDefault(sums.ContainsKey);
            if (state is null || sums.Keys.Any(name => !name.StartsWith(state, StringComparison.Ordinal) || name != System.IO.Path.GetFileName(name)))
            {
                throw new FormatException($"its files are {string.Join(", ", sums.Keys)}, expected {names[0]}");
            }

            found = new Checkpoint(
                root.GetProperty("kind").GetString()!,
                step,
                root.GetProperty("seconds").GetDouble(),
                root.GetProperty("config").GetRawText(),
                System.IO.Path.Combine(Path, state));
            _current = state;
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new YapoException(YapoErrorKind.Format, $"{Index} is not a checkpoint: {e.Message}. Remove the folder or start without --resume.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot read {Index}: {e.Message}", e);
        }

        if (found.Kind != _kind)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{Index} belongs to a '{found.Kind}' run, not to a '{_kind}' run. Use another checkpoint folder.");
        }

        if (found.Config != _config)
        {
            throw new YapoException(
                YapoErrorKind.Mismatch,
                $"{Index} belongs to a run with other settings or data.\n{IO.ConfigDifference.Text(found.Config, _config)}\nUse the same settings to resume, or another checkpoint folder.");
        }

        foreach (var (name, expected) in sums)
        {
            if (Sum(name) is var sum && sum != expected)
            {
                throw new YapoException(
                    YapoErrorKind.Format,
                    $"{System.IO.Path.Combine(Path, name)} is damaged: its SHA-256 is {sum}, checkpoint.json says {expected}. Remove the folder and start again, or restore both files from a copy.");
            }
        }

        return found;
    }

    /// <summary>
    /// The checkpoint to start from: with <paramref name="resume"/> the latest one or null; without it null, and a checkpoint that is
    /// already there is refused, so that no run is overwritten by accident.
    /// </summary>
    public Checkpoint? LoadFor(bool resume)
    {
        if (!resume && File.Exists(Index))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"{Path} already holds a checkpoint. Resume it (--resume), or use an empty folder.");
        }

        return resume ? Load() : null;
    }

    /// <summary>Makes <paramref name="writeState"/> (which gets the path of a new file; it may write others whose names begin so) the latest checkpoint.</summary>
    public Checkpoint Save(long step, double seconds, Action<string> writeState)
    {
        var name = StateNames(step).First(n => n != _current);
        var state = System.IO.Path.Combine(Path, name);
        try
        {
            writeState(state);
            WriteIndex(step, seconds, name);
            _current = name;
        }
        catch (YapoException e) when (e.Kind == YapoErrorKind.Io && Holds(Path))
        {
            throw new YapoException(YapoErrorKind.Io, $"{e.Message} The checkpoint before it is whole: free some space and go on with the same command and --resume.", e);
        }

        foreach (var old in Directory.EnumerateFiles(Path))
        {
            var file = System.IO.Path.GetFileName(old);
            if ((file.StartsWith("state-", StringComparison.Ordinal) && !file.StartsWith(name, StringComparison.Ordinal)) || IsLeftover(file, name))
            {
                File.Delete(old);
            }
        }

        return new Checkpoint(_kind, step, seconds, _config, state);
    }

    // Temporary files of processes that were killed while they wrote.
    private static bool IsLeftover(string file, string state) =>
        file.EndsWith(".tmp", StringComparison.Ordinal) && (file.StartsWith("checkpoint.json.", StringComparison.Ordinal) || file.StartsWith(state + ".", StringComparison.Ordinal));

    // Neither begins the other: a name also begins those of the files beside it.
    private static string[] StateNames(long step) => [$"state-{step:D8}.bin", $"state-{step:D8}-again.bin"];

    private string Sum(string name) => InputFile.Sha256(System.IO.Path.Combine(Path, name));

    private void WriteIndex(long step, double seconds, string name)
    {
        // In memory first: where the disk is full, the error can then say what is needed.
        var content = new System.Buffers.ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(content, new JsonWriterOptions { Indented = false }))
        {
            json.WriteStartObject();
            json.WriteNumber("format_version", FormatVersion);
            json.WriteString("kind", _kind);
            json.WriteNumber("step", step);
            json.WriteNumber("seconds", seconds);
            json.WriteStartObject("sha256");
            foreach (var file in Directory.EnumerateFiles(Path, name + "*").Select(f => System.IO.Path.GetFileName(f)).Where(f => !IsLeftover(f, name)).Order(StringComparer.Ordinal))
            {
                json.WriteString(file, Sum(file));
            }

            json.WriteEndObject();
            json.WritePropertyName("config");
            json.WriteRawValue(_config);
            json.WriteEndObject();
        }

        AtomicFile.Write(Index, content.WrittenMemory);
    }
}

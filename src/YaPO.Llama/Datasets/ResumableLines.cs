using System.Text;
using YaPO.Llama.IO;

namespace YaPO.Llama.Datasets;

/// <summary>
/// A file of lines that is made in groups over hours and may be cut off at any byte. Lines gather in <c>FILE.partial</c>, group by group, each flushed to disk; settings stand in
/// <c>FILE.partial.json</c>. Whoever comes back with the same settings goes on behind the last whole group; the finished file appears at once under its own name.
/// </summary>
public sealed class ResumableLines : IDisposable
{
    private readonly string _path;
    private readonly string _settings;
    private readonly FileStream _partial;

    private ResumableLines(string path, string settings, FileStream partial, int done) => (_path, _settings, _partial, Done) = (path, settings, partial, done);

    /// <summary>Lines that an earlier run finished: a whole number of groups.</summary>
    public int Done { get; private set; }

    /// <summary>Where lines gather for a file.</summary>
    public static string PartialPath(string path) => path + ".partial";

    /// <summary>Where the settings of a finished file stand.</summary>
    public static string SettingsPath(string path) => path + ".settings.json";

    /// <summary>Starts a file, or goes on with it.</summary>
    /// <param name="path">The finished file.</param>
    /// <param name="settings">Everything that decides its bytes, as canonical JSON.</param>
    /// <param name="groupLines">Lines of a group.</param>
    /// <exception cref="YapoException">What is there was made with other settings (<see cref="YapoErrorKind.Mismatch"/>), or the folder cannot be written.</exception>
    public static ResumableLines Open(string path, string settings, int groupLines)
    {
        var (partial, partialSettings) = (PartialPath(path), PartialPath(path) + ".json");
        if (!File.Exists(partialSettings) || !File.Exists(partial))
        {
            // Settings first: a partial file without them would be of unknown origin.
            File.Delete(partial);
            Write(partialSettings, settings);
        }
        else if (File.ReadAllText(partialSettings) != settings)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{partial} was begun with other settings (see {partialSettings}); go on with those, or delete both files to begin anew");
        }

        var stream = new FileStream(partial, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1 << 16);
        try
        {
            var (lines, length) = WholeGroups(stream, groupLines);
            stream.SetLength(length);
            stream.Position = length;
            return new ResumableLines(path, settings, stream, lines);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>Holds the lines of earlier runs against what they must be, since a disk may have damaged them meanwhile.</summary>
    /// <param name="problem">Given the index of a line and the line: what is wrong with it; null: nothing.</param>
    /// <exception cref="YapoException">The first line that something is wrong with (<see cref="YapoErrorKind.Format"/>).</exception>
    public void Check(Func<int, string, string?> problem)
    {
        ArgumentNullException.ThrowIfNull(problem);
        _partial.Position = 0;
        using (var reader = new StreamReader(_partial, Encoding.UTF8, leaveOpen: true))
        {
            for (var i = 0; i < Done && reader.ReadLine() is { } line; i++)
            {
                if (problem(i, line) is { } what)
                {
                    throw new YapoException(YapoErrorKind.Format, $"{PartialPath(_path)}, line {i + 1} is damaged: {what}. Delete the file to begin anew");
                }
            }
        }

        _partial.Position = _partial.Length;
    }

    /// <summary>Adds a group and flushes it to disk.</summary>
    public void Add(IReadOnlyList<string> lines)
    {
        foreach (var line in lines)
        {
            _partial.Write(Encoding.UTF8.GetBytes(line + "\n"));
        }

        _partial.Flush(flushToDisk: true);
        Done += lines.Count;
    }

    /// <summary>Writes the finished file and its settings, and removes what gathered.</summary>
    /// <param name="keep">Which lines belong into it.</param>
    public void Finish(Func<string, bool> keep)
    {
        _partial.Position = 0;
        AtomicFile.Write(_path, stream =>
        {
            using var reader = new StreamReader(_partial, Encoding.UTF8, leaveOpen: true);
            using var writer = new StreamWriter(stream, new UTF8Encoding(false), leaveOpen: true) { NewLine = "\n" };
            while (reader.ReadLine() is { } line)
            {
                if (keep(line))
                {
                    writer.WriteLine(line);
                }
            }
        });
        Write(SettingsPath(_path), _settings);
        _partial.Dispose();
        File.Delete(PartialPath(_path));
        File.Delete(PartialPath(_path) + ".json");
    }

    /// <summary>Closes the file; what gathered stays.</summary>
    public void Dispose() => _partial.Dispose();

    private static void Write(string path, string text) => AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)));

    private static (int Lines, long Length) WholeGroups(FileStream stream, int groupLines)
    {
        var buffer = new byte[1 << 16];
        var (lines, at, whole, wholeLines) = (0, 0L, 0L, 0);
        for (int n; (n = stream.Read(buffer, 0, buffer.Length)) > 0; at += n)
        {
            for (var i = 0; i < n; i++)
            {
                if (buffer[i] == (byte)'\n' && ++lines % groupLines == 0)
                {
                    (whole, wholeLines) = (at + i + 1, lines);
                }
            }
        }

        return (wholeLines, whole);
    }
}

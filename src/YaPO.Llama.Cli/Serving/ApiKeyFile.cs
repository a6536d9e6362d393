using YaPO.Llama.Cli.Terminal;

namespace YaPO.Llama.Cli.Serving;

/// <summary>Reads the file of accepted API keys.</summary>
internal static class ApiKeyFile
{
    private const int LeastLength = 16;
    private const int MostBytes = 1 << 20;

    /// <summary>One key per line; empty lines and lines that begin with # are left out.</summary>
    /// <exception cref="YapoException">Unreadable, without a key, or with one that could be guessed.</exception>
    public static IReadOnlyList<string> Read(string path, CommandConsole console)
    {
        using var file = IO.InputFile.Open(path);
        if (file.Length > MostBytes)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path} has {file.Length} bytes; a key file has one key per line");
        }

        using var reader = new StreamReader(file);
        var lines = reader.ReadToEnd().Split('\n', StringSplitOptions.TrimEntries);
        for (var i = 0; i < lines.Length; i++)
        {
            if (lines[i].Length is > 0 and < LeastLength && !lines[i].StartsWith('#'))
            {
                throw new YapoException(YapoErrorKind.Format, $"{path}, line {i + 1}: the key has {lines[i].Length} characters, expected at least {LeastLength}");
            }
        }

        string[] keys = [.. lines.Where(line => line.Length > 0 && !line.StartsWith('#')).Distinct()];
        if (!OperatingSystem.IsWindows() && (File.GetUnixFileMode(path) & (UnixFileMode.GroupRead | UnixFileMode.OtherRead)) != 0)
        {
            console.Warn($"{path} can be read by other users of this machine (chmod 600 {path})");
        }

        return keys.Length > 0 ? keys : throw new YapoException(YapoErrorKind.Format, $"{path} holds no key; expected one per line");
    }
}

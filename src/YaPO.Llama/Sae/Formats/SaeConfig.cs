using System.Globalization;
using System.Text.Json;
using YaPO.Llama.IO;

namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// The JSON file beside published weights (<c>cfg.json</c>, <c>config.json</c>, <c>hyperparams.json</c>). Values are looked up by path (<c>metadata.hook_name</c>), the first path
/// that exists wins; a value of another type than asked for is an error that names the key. A JSON null counts as missing.
/// </summary>
internal sealed class SaeConfig
{
    private const int MaxBytes = 1 << 20;

    private readonly JsonElement _root;

    private SaeConfig(string path, JsonElement root) => (Path, _root) = (path, root);

    /// <summary>A config without any value.</summary>
    public static SaeConfig Empty { get; } = new("", default);

    /// <summary>The file; empty when there is none.</summary>
    public string Path { get; }

    public bool Exists => Path.Length > 0;

    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: no JSON object, a key twice, or larger than a megabyte.</exception>
    public static SaeConfig Read(string path)
    {
        using var stream = InputFile.Open(path);
        try
        {
            if (stream.Length > MaxBytes)
            {
                throw new YapoException(YapoErrorKind.Format, $"{path}: {stream.Length:N0} bytes are too many for a description of an SAE, at most {MaxBytes:N0} are read");
            }

            using var document = JsonDocument.Parse(stream, new JsonDocumentOptions { MaxDepth = 32, AllowDuplicateProperties = false });
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new SaeConfig(path, document.RootElement.Clone())
                : throw new YapoException(YapoErrorKind.Format, $"{path}: expected a JSON object, found {document.RootElement.ValueKind}");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new YapoException(YapoErrorKind.Format, $"{path} is not valid JSON: {e.Message}", e);
        }
        catch (IOException e)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot read {path}: {e.Message}", e);
        }
    }

    public bool Has(params ReadOnlySpan<string> paths) => Find(paths).Element is not null;

    /// <summary>A text, or null.</summary>
    public string? Text(params ReadOnlySpan<string> paths) => Find(paths) switch
    {
        (_, null) => null,
        (_, { ValueKind: JsonValueKind.String } e) => String(e),
        var (path, e) => throw Bad(path, "a text", e.Value),
    };

    /// <summary>An integer below 2^31, or null.</summary>
    public int? Integer(params ReadOnlySpan<string> paths) => Real(paths) switch
    {
        null => null,
        >= int.MinValue and <= int.MaxValue and var x when x == Math.Floor(x) => (int)x,
        { } x => throw new YapoException(YapoErrorKind.Format, $"{Path}: '{paths[0]}' is {x.ToString(CultureInfo.InvariantCulture)}, expected an integer"),
    };

    /// <summary>A finite number, or null.</summary>
    public double? Real(params ReadOnlySpan<string> paths) => Find(paths) switch
    {
        (_, null) => null,
        (_, { ValueKind: JsonValueKind.Number } e) when e.TryGetDouble(out var x) && double.IsFinite(x) => x,
        var (path, e) => throw Bad(path, "a number", e.Value),
    };

    /// <summary>A flag, or <paramref name="otherwise"/>.</summary>
    public bool Flag(string path, bool otherwise) => Find([path]) switch
    {
        (_, null) => otherwise,
        (_, { ValueKind: JsonValueKind.True or JsonValueKind.False } e) => e.ValueKind == JsonValueKind.True,
        (_, { } e) => throw Bad(path, "true or false", e),
    };

    /// <summary>Whether the value is true or false.</summary>
    public bool IsFlag(string path) => Find([path]).Element is { ValueKind: JsonValueKind.True or JsonValueKind.False };

    /// <summary>A positive number that the format cannot do without.</summary>
    public double RequirePositive(params ReadOnlySpan<string> paths) => Real(paths) switch
    {
        > 0 and var x => x,
        var x => throw new YapoException(YapoErrorKind.Format, $"{Path}: '{paths[0]}' is {x?.ToString(CultureInfo.InvariantCulture) ?? "missing"}, expected a positive number"),
    };

    private (string Path, JsonElement? Element) Find(ReadOnlySpan<string> paths)
    {
        foreach (var path in paths)
        {
            var element = _root;
            var found = Exists;
            foreach (var part in path.Split('.'))
            {
                found = found && element.ValueKind == JsonValueKind.Object && element.TryGetProperty(part, out element);
            }

            if (found && element.ValueKind != JsonValueKind.Null)
            {
                return (path, element);
            }
        }

        return ("", null);
    }

    private string String(JsonElement element)
    {
        try
        {
            return element.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw new YapoException(YapoErrorKind.Format, $"{Path}: a text holds half a surrogate pair: {e.Message}", e);
        }
    }

    private YapoException Bad(string path, string expected, JsonElement found) =>
        new(YapoErrorKind.Format, $"{Path}: '{path}' is of type {found.ValueKind}, expected {expected}");
}

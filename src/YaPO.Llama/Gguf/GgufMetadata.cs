using System.Collections;
using System.Diagnostics.CodeAnalysis;

namespace YaPO.Llama.Gguf;

/// <summary>
/// The key-value pairs of a GGUF file, in file order. The typed getters return null for a missing key and refuse a value of
/// another type; integers of any width are accepted where they fit.
/// </summary>
#pragma warning disable CA1710 // "metadata" is what GGUF calls it
public sealed class GgufMetadata : IReadOnlyDictionary<string, GgufValue>
#pragma warning restore CA1710
{
    private readonly Dictionary<string, GgufValue> _values = new(StringComparer.Ordinal);
    private readonly List<string> _keys = [];
    private readonly string _source;

    internal GgufMetadata(string source) => _source = source;

    /// <inheritdoc/>
    public int Count => _keys.Count;

    /// <inheritdoc/>
    public IEnumerable<string> Keys => _keys;

    /// <inheritdoc/>
    public IEnumerable<GgufValue> Values => _keys.Select(k => _values[k]);

    /// <inheritdoc/>
    public GgufValue this[string key] => _values[key];

    internal bool TryAdd(string key, GgufValue value)
    {
        if (!_values.TryAdd(key, value))
        {
            return false;
        }

        _keys.Add(key);
        return true;
    }

    /// <inheritdoc/>
    public bool ContainsKey(string key) => _values.ContainsKey(key);

    /// <inheritdoc/>
    public bool TryGetValue(string key, [MaybeNullWhen(false)] out GgufValue value) => _values.TryGetValue(key, out value);

    /// <summary>A string, or null where the key is missing.</summary>
    public string? GetString(string key) => !_values.TryGetValue(key, out var v) ? null : v.Data as string ?? throw Wrong(key, "str", v);

    /// <summary>A string that must be there.</summary>
    public string RequireString(string key) => GetString(key) ?? throw Missing(key, "str");

    /// <summary>An integer in 0 … 2^32−1, or null where the key is missing.</summary>
    public uint? GetUInt32(string key) => GetInteger(key) is not { } n ? null
        : n >= 0 && n <= uint.MaxValue ? (uint)n : throw Wrong(key, "u32", _values[key]);

    /// <summary>An integer in 0 … 2^32−1 that must be there.</summary>
    public uint RequireUInt32(string key) => GetUInt32(key) ?? throw Missing(key, "u32");

    /// <summary>A non-negative 64-bit integer, or null where the key is missing.</summary>
    public ulong? GetUInt64(string key) => GetInteger(key) is not { } n ? null
        : n >= 0 ? (ulong)n : throw Wrong(key, "u64", _values[key]);

    /// <summary>A float (f32 or f64), or null where the key is missing.</summary>
    public float? GetFloat(string key) => !_values.TryGetValue(key, out var v) ? null : v.Data switch
    {
        float f => f,
        double d => (float)d,
        _ => throw Wrong(key, "f32", v),
    };

    /// <summary>A boolean, or null where the key is missing.</summary>
    public bool? GetBool(string key) => !_values.TryGetValue(key, out var v) ? null : v.Data is bool b ? b : throw Wrong(key, "bool", v);

    /// <summary>An array of strings, or null where the key is missing.</summary>
    public GgufStrings? GetStrings(string key) => !_values.TryGetValue(key, out var v) ? null : v.Data as GgufStrings ?? throw Wrong(key, "arr[str]", v);

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, GgufValue>> GetEnumerator() => _keys.Select(k => KeyValuePair.Create(k, _values[k])).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private Int128? GetInteger(string key) => !_values.TryGetValue(key, out var v) ? null : v.Data switch
    {
        byte n => n,
        sbyte n => n,
        ushort n => n,
        short n => n,
        uint n => n,
        int n => n,
        ulong n => n,
        long n => n,
        _ => throw Wrong(key, "an integer", v),
    };

    private YapoException Wrong(string key, string expected, GgufValue found) => new(
        YapoErrorKind.Format,
        $"{_source}: metadata key '{key}' must be {expected}, found {found.TypeName}{(found.Data is string or Array or GgufStrings ? "" : $" {found.Data}")}");

    private YapoException Missing(string key, string type) => new(YapoErrorKind.Format, $"{_source}: metadata key '{key}' ({type}) is missing");
}

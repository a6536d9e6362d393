namespace YaPO.Llama.Sae.Formats;

/// <summary>Every format that is known, in the order in which they are tried.</summary>
internal static class SaeFormats
{
    public static IReadOnlyList<SaeFormat> All { get; } =
        [GemmaScope.Table, GemmaScope2.Table, LlamaScope.Table, OpenMoss.Table, Sparsify.Table, .. SaeLens.Tables, QwenScope.Table];

    /// <summary>The tables of one <c>--format</c>; all of them for <c>auto</c>.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/>: there is no such format.</exception>
    public static IReadOnlyList<SaeFormat> Named(string format)
    {
        SaeFormat[] tables = [.. All.Where(f => format == "auto" || f.Name == format)];
        return tables.Length > 0 ? tables : throw new YapoException(YapoErrorKind.InvalidArgument, $"SAE format '{format}' is unknown: expected auto, {string.Join(", ", All.Select(f => f.Name).Distinct())}");
    }

    /// <summary>The table that recognizes the files; a format named by the user with one table only is taken without being asked.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Unsupported"/>: none does, or it is one that cannot steer.</exception>
    public static SaeFormat Detect(SaeSource source, string format)
    {
        var tables = Named(format);
        var table = tables.Count == 1 ? tables[0] : tables.FirstOrDefault(f => f.Recognizes(source)) ?? throw new YapoException(
            YapoErrorKind.Unsupported,
            $"{source.Path} is in no SAE format that is known ({string.Join(", ", tables.Select(f => f.Name).Distinct())}): it holds {Listed(source)}"
            + (source.Config.Exists ? $", and {Path.GetFileName(source.Config.Path)} does not say more" : "; is its config file missing?"));
        return table.Refusal is null ? table : throw new YapoException(YapoErrorKind.Unsupported, $"{source.Path}: {table.Title}: {table.Refusal}");
    }

    private static string Listed(SaeSource source) =>
        source.Tensors.Names.Count == 0 ? "no array at all" : string.Join(", ", source.Tensors.Names.Take(12)) + (source.Tensors.Names.Count > 12 ? ", …" : "");
}

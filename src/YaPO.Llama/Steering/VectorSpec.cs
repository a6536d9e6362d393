using System.Globalization;

namespace YaPO.Llama.Steering;

/// <summary>
/// A vector as the command line names it: <c>FILE[:STRENGTH][@POSITIONS]</c>, such as <c>egypt.ysv</c>, <c>egypt.ysv:1.5</c>,
/// <c>a.ysv:0.8@generated</c>, <c>C:\x.ysv:-1</c>.
/// </summary>
/// <param name="Path">The file, as written.</param>
/// <param name="Strength">λ; null: each vector's recommended strength.</param>
/// <param name="Positions">Where it acts; null: as the file says.</param>
public sealed record VectorSpec(string Path, float? Strength = null, SteeringPositions? Positions = null)
{
    private static readonly char[] PathCharacters = ['.', '/', '\\'];

    /// <summary>
    /// Parses from the right, so that a drive letter, or a colon or @ in a folder name, belongs to the file. A last part that looks
    /// like neither a path nor what is expected there is an error rather than an odd file name.
    /// </summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.InvalidArgument"/>.</exception>
    public static VectorSpec Parse(string text)
    {
        var file = text;
        SteeringPositions? positions = null;
        var at = file.LastIndexOf('@');
        if (at >= 0 && (SteeringPositions.TryParse(file[(at + 1)..], out var parsed) || !LooksLikePath(file[(at + 1)..])))
        {
            positions = SteeringPositions.Parse(file[(at + 1)..]);
            file = file[..at];
        }

        float? strength = null;
        var colon = file.LastIndexOf(':');
        if (colon >= 0)
        {
            var tail = file[(colon + 1)..];
            if (float.TryParse(tail, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && float.IsFinite(value))
            {
                strength = value;
                file = file[..colon];
            }
            else if (!LooksLikePath(tail))
            {
                throw new YapoException(YapoErrorKind.InvalidArgument, $"'{text}': strength '{tail}' is no finite number; expected FILE[:STRENGTH][@POSITIONS], such as egypt.ysv:1.5@generated");
            }
        }

        return file.Length > 0
            ? new VectorSpec(file, strength, positions)
            : throw new YapoException(YapoErrorKind.InvalidArgument, $"'{text}' names no file; expected FILE[:STRENGTH][@POSITIONS], such as egypt.ysv:1.5@generated");
    }

    /// <summary>The text that <see cref="Parse"/> reads back.</summary>
    public override string ToString() =>
        Path + (Strength is { } s ? ":" + s.ToString("R", CultureInfo.InvariantCulture) : "") + (Positions is { } p ? "@" + p : "");

    private static bool LooksLikePath(string text) => text.IndexOfAny(PathCharacters) >= 0;
}

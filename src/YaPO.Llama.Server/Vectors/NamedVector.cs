using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Server.Vectors;

/// <summary>A vector file under the name that requests use, with the strengths that they may ask for.</summary>
public sealed class NamedVector
{
    /// <summary>Largest |strength| unless the operator says otherwise: far beyond what leaves a model able to speak.</summary>
    public const float DefaultLimit = 10;

    /// <summary>Puts a file on the list.</summary>
    /// <param name="name">Letters, digits, <c>-</c>, <c>_</c> and <c>.</c>; it becomes a part of model names.</param>
    /// <param name="source">The file, with the strength and positions that requests get which name no others.</param>
    /// <param name="limits">Least and most strength that requests may ask for; null: ±<see cref="DefaultLimit"/>, or wider where the file says that more is sensible.</param>
    /// <exception cref="YapoException">A bad name, or a default outside the limits.</exception>
    public NamedVector(string name, SteeringSource source, (float Least, float Most)? limits = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        if (!IsName(name))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"vector name '{name}': expected 1 to 64 letters, digits, '-', '_' or '.'");
        }

        (Name, Source, Settings, File) = (name, source, source.Settings, source.File);
        var strengths = Settings.Select(s => s.Strength).ToList();
        (LeastStrength, MostStrength) = limits ?? (
            Math.Min(-DefaultLimit, Math.Min(File.Vectors.Min(v => v.MinStrength ?? 0), strengths.Min())),
            Math.Max(DefaultLimit, Math.Max(File.Vectors.Max(v => v.MaxStrength ?? 0), strengths.Max())));
        if (!(LeastStrength <= strengths.Min() && strengths.Max() <= MostStrength))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"vector {name}: its default strength {strengths[0]} lies outside {LeastStrength} … {MostStrength}");
        }
    }

    /// <summary>What requests call it.</summary>
    public string Name { get; }

    /// <summary>Where it came from.</summary>
    public SteeringSource Source { get; }

    /// <summary>Its content.</summary>
    public SteeringFile File { get; }

    /// <summary>One for each vector of the file, with default strengths and positions.</summary>
    public IReadOnlyList<SteeringSetting> Settings { get; }

    /// <summary>Least strength that a request may ask for.</summary>
    public float LeastStrength { get; }

    /// <summary>Most strength that a request may ask for.</summary>
    public float MostStrength { get; }

    /// <summary>Whether a name can be used in requests and model names.</summary>
    public static bool IsName(string name) => name.Length is > 0 and <= 64 && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.');
}

using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Steered;

/// <summary>One --vector: the file found for it, and what acts where now (a chat changes strengths).</summary>
internal sealed record LoadedVector(SteeringSource Source, IReadOnlyList<SteeringSetting> Settings)
{
    public string Path => Source.Path;

    public SteeringFile File => Source.File;

    /// <summary>Finds and reads a vector as SPEC names it.</summary>
    /// <exception cref="YapoException">A wrong SPEC, no such file, or no vector in it.</exception>
    public static LoadedVector Load(string spec, ModelLocator locator, string? saePath = null)
    {
        var source = SteeringSource.Load(VectorSpec.Parse(spec), locator, saePath);
        return new LoadedVector(source, source.Settings);
    }

    // Strengths do not compare from one vector to the next, so whoever types one should hear where the file's own scale ends.
    private string Beyond() => Settings.Zip(File.Vectors).FirstOrDefault(p => p.First.Strength < p.Second.MinStrength || p.First.Strength > p.Second.MaxStrength) is (_, { } v)
        ? $" (outside the {Sizes.Real(v.MinStrength ?? float.NegativeInfinity)} to {Sizes.Real(v.MaxStrength ?? float.PositiveInfinity)} that the file calls sensible)"
        : "";

    /// <summary>For a person: file, strength and why, layers, size.</summary>
    public string Describe()
    {
        var strengths = string.Join(", ", Settings.Select(s => Sizes.Real(s.Strength)).Distinct());
        var recommended = Settings.Zip(File.Vectors).All(p => p.First.Strength == p.Second.RecommendedStrength);
        var layers = Settings.Select(s => s.Vector.Layer).Distinct().Order().ToList();
        var size = Settings.Any(s => s.Vector.IsSparse) ? $"{Settings.Sum(s => s.Vector.SupportSize)} feature{(Settings.Sum(s => s.Vector.SupportSize) == 1 ? "" : "s")}" : "dense";
        var positions = string.Join(", ", Settings.Select(s => s.Positions.ToString()).Distinct());
        return $"{Paths.Short(Path)}: strength {strengths}{(recommended ? " (recommended)" : Beyond())}, layer{(layers.Count > 1 ? "s" : "")} {string.Join(", ", layers)}, {size}, positions {positions}";
    }
}

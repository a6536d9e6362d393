using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Steered;

/// <summary>One --vector: its spec, the file found for it, and what acts where.</summary>
internal sealed record LoadedVector(VectorSpec Spec, string Path, SteeringFile File, IReadOnlyList<SteeringSetting> Settings)
{
    /// <summary>Finds and reads a vector as SPEC names it.</summary>
    /// <exception cref="YapoException">A wrong SPEC, no such file, or no vector in it.</exception>
    public static LoadedVector Load(string spec, ModelSearch search)
    {
        var parsed = VectorSpec.Parse(spec);
        var path = search.FindVector(parsed.Path);
        var file = SteeringFile.Load(path);
        return new LoadedVector(parsed, path, file, [.. file.Vectors.Select(v => SteeringSetting.Create(v, parsed.Strength, parsed.Positions))]);
    }

    /// <summary>For a person: file, strength and why, layers, size.</summary>
    public string Describe()
    {
        var strengths = string.Join(", ", Settings.Select(s => Sizes.Real(s.Strength)).Distinct());
        var layers = Settings.Select(s => s.Vector.Layer).Distinct().Order().ToList();
        var size = Settings.Any(s => s.Vector.IsSparse) ? $"{Settings.Sum(s => s.Vector.SupportSize)} features" : "dense";
        var positions = string.Join(", ", Settings.Select(s => s.Positions.ToString()).Distinct());
        return $"{Path}: strength {strengths}{(Spec.Strength is null ? " (recommended)" : "")}, "
            + $"layer{(layers.Count > 1 ? "s" : "")} {string.Join(", ", layers)}, {size}, positions {positions}";
    }
}

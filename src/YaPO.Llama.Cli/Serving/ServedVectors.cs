using System.Globalization;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Steered;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Server.Vectors;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Serving;

/// <summary>The model to serve and its vectors by name, checked against each other.</summary>
internal sealed class ServedVectors : IDisposable
{
    private readonly SteeredModel steered;

    private ServedVectors(SteeredModel steered, IReadOnlyList<NamedVector> vectors, IReadOnlyList<RequestedSteering> standard) => (this.steered, Vectors, Default) = (steered, vectors, standard);

    public LlamaModel Model => steered.Model;

    public IReadOnlyList<NamedVector> Vectors { get; }

    public IReadOnlyList<RequestedSteering> Default { get; }

    /// <summary>Threads; sizes are the engine's.</summary>
    public ContextOptions Context => new() { Threads = steered.ContextFor(1).Threads };

    /// <summary>Reads the vectors and loads their model.</summary>
    /// <exception cref="YapoException">Something is missing, malformed, named twice, or does not belong together.</exception>
    public static ServedVectors Open(ServedVectorSettings settings, EngineSettings engine, CommandConsole console, CancellationToken cancellation)
    {
        var named = settings.Vectors.Select(Split).ToList();
        if (settings.VectorDirectory is { } folder)
        {
            named.AddRange(InFolder(folder, console));
        }

        if (named.GroupBy(n => n.Name).FirstOrDefault(g => g.Count() > 1) is { } twice)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"two vectors are named {twice.Key} ({string.Join(", ", twice.Select(n => n.Spec))}): name them with --vector NAME=SPEC");
        }

        var limits = settings.Limits.Select(Limit).ToList();
        if (limits.FirstOrDefault(l => named.All(n => n.Name != l.Name)).Name is { } stranger)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"--strength-limit {stranger}: there is no vector of that name");
        }

        var steered = SteeredModel.Open(new SteeringSettings(settings.Model, settings.ModelDirectory, [.. named.Select(n => n.Spec)], settings.AllowMismatch) { Sae = settings.Sae }, engine, console, cancellation);
        try
        {
            var vectors = named.Zip(steered.Vectors, (n, loaded) => new NamedVector(
                n.Name,
                loaded.Source,
                limits.Where(l => l.Name == n.Name).Select(l => ((float, float)?)(l.Least, l.Most)).LastOrDefault()));
            return new ServedVectors(steered, [.. vectors], [.. settings.Default.Select(Steer)]);
        }
        catch
        {
            steered.Dispose();
            throw;
        }
    }

    public void Dispose() => steered.Dispose();

    /// <summary>NAME=SPEC; without NAME the file's own name.</summary>
    internal static (string Name, string Spec) Split(string text)
    {
        var equals = text.IndexOf('=', StringComparison.Ordinal);
        if (equals > 0 && NamedVector.IsName(text[..equals]))
        {
            return (text[..equals], text[(equals + 1)..]);
        }

        var name = Path.GetFileNameWithoutExtension(VectorSpec.Parse(text).Path);
        return NamedVector.IsName(name) ? (name, text) : throw new YapoException(
            YapoErrorKind.InvalidArgument,
            $"--vector {text}: '{name}' cannot be a name in requests (letters, digits, '-', '_', '.'); give one, NAME={text}");
    }

    private static IEnumerable<(string Name, string Spec)> InFolder(string folder, CommandConsole console)
    {
        if (!Directory.Exists(folder))
        {
            throw new YapoException(YapoErrorKind.Io, $"--vector-dir {folder}: there is no such folder");
        }

        foreach (var path in Directory.EnumerateFiles(folder).Where(p => p.EndsWith(".ysv", StringComparison.Ordinal) || IsControlVector(p)).Order(StringComparer.Ordinal))
        {
            var name = Path.GetFileNameWithoutExtension(path);
            if (NamedVector.IsName(name))
            {
                yield return (name, path);
            }
            else
            {
                console.Warn($"{path} is left out: '{name}' cannot be a name in requests; serve it with --vector NAME={path}");
            }
        }
    }

    private static bool IsControlVector(string path)
    {
        if (!path.EndsWith(".gguf", StringComparison.Ordinal))
        {
            return false;
        }

        using var file = GgufFile.Open(path);
        return file.Architecture == ControlVectorFile.Architecture;
    }

    private static (string Name, float Least, float Most) Limit(string text)
    {
        var (equals, colon) = (text.IndexOf('=', StringComparison.Ordinal), text.LastIndexOf(':'));
        return equals > 0 && colon > equals
            && float.TryParse(text.AsSpan((equals + 1)..colon), NumberStyles.Float, CultureInfo.InvariantCulture, out var least)
            && float.TryParse(text.AsSpan(colon + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out var most)
            && float.IsFinite(least) && float.IsFinite(most) && least <= most
                ? (text[..equals], least, most)
                : throw new YapoException(YapoErrorKind.InvalidArgument, $"--strength-limit {text}: expected NAME=LEAST:MOST, such as egypt=-1:2");
    }

    /// <summary>NAME[:STRENGTH][@POSITIONS], which has the form of a vector's SPEC.</summary>
    private static RequestedSteering Steer(string text)
    {
        var spec = VectorSpec.Parse(text);
        return new RequestedSteering(spec.Path, spec.Strength, spec.Positions);
    }
}

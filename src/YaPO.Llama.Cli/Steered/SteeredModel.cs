using YaPO.Llama.Cli.Machine;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Steered;

/// <summary>A loaded model and the vectors that belong to it, checked against each other.</summary>
internal sealed class SteeredModel : IDisposable
{
    private readonly EngineSettings _engine;

    private SteeredModel(LlamaModel model, ModelIdentity identity, IReadOnlyList<LoadedVector> vectors, EngineSettings engine)
    {
        Model = model;
        Identity = identity;
        Vectors = vectors;
        _engine = engine;
    }

    public LlamaModel Model { get; }

    public ModelIdentity Identity { get; }

    public IReadOnlyList<LoadedVector> Vectors { get; }

    /// <summary>All settings of all vectors, in the order of the command line.</summary>
    public IReadOnlyList<SteeringSetting> Steering => [.. Vectors.SelectMany(v => v.Settings)];

    /// <summary>
    /// Reads the vectors, finds the model (as given, or the first vector's by fingerprint), checks that they belong together, loads it, and says
    /// on stderr what was taken and why.
    /// </summary>
    /// <exception cref="YapoException">Something is missing, malformed, or does not belong together (<see cref="YapoErrorKind.Mismatch"/>).</exception>
    public static SteeredModel Open(SteeringSettings settings, EngineSettings engine, CommandConsole console, CancellationToken cancellation)
    {
        var locator = ModelLocator.Create(settings.ModelDirectory);
        var vectors = settings.Vectors.Select(spec => LoadedVector.Load(spec, locator, settings.Sae)).ToList();
        var (path, why) = settings.Model is { } given ? (Errors.InputFile.Require(given), "as given") : Find(vectors[0], locator, settings.AllowMismatch, cancellation);
        var identity = locator.Identify(path);
        foreach (var vector in vectors)
        {
            if (vector.Source.RequireFits(path, identity, settings.AllowMismatch) is { } warning)
            {
                console.Warn(warning);
            }
        }

        var model = console.LoadModel(path, engine.ModelOptions, cancellation);
        console.Note($"model {Paths.Short(path)} ({Describe(model, identity)}): {why}");
        foreach (var vector in vectors)
        {
            console.Note($"vector {vector.Describe()}");
        }

        var steered = new SteeredModel(model, identity, vectors, engine);
        if (MachineLoad.Warning(MachineLoad.Average(), Environment.ProcessorCount, steered.Threads) is { } busy)
        {
            console.Warn(busy);
        }

        return steered;
    }

    /// <summary>
    /// A context for jobs of <paramref name="tokens"/> tokens: --ctx-size where it was given, else what the job needs, at most what the model was
    /// trained with.
    /// </summary>
    public ContextOptions ContextFor(int tokens) => new()
    {
        ContextSize = _engine.ContextSize ?? Math.Clamp(tokens, 1, Math.Max(1, Model.Info.TrainingContext)),
        Threads = Threads,
    };

    // Below this, a token takes a millisecond on one core, and threads that spin for each other only cost.
    private int Threads => _engine.Threads == 0 && Model.Info.ParameterCount < ContextOptions.SmallModel ? 1 : _engine.Threads;

    private static string Describe(LlamaModel model, ModelIdentity identity) => string.Join(
        ", ",
        new[] { identity.Name, identity.Architecture, identity.Quantization, $"{Sizes.Count(model.Info.ParameterCount)} parameters" }.Where(t => t.Length > 0));

    public void Dispose()
    {
        Model.Dispose();
        foreach (var sae in Vectors.SelectMany(v => v.Source.Saes))
        {
            sae.Dispose();
        }
    }

    private static (string Path, string Why) Find(LoadedVector vector, ModelLocator locator, bool allowMismatch, CancellationToken cancellation)
    {
        var found = vector.Source.FindModel(locator, allowMismatch, cancellation);
        var others = found.Alternatives.Count == 0 ? "" : $"; {found.Alternatives.Count} other file{(found.Alternatives.Count > 1 ? "s" : "")} would do";
        return (found.Path, $"for {Path.GetFileName(vector.Path)}, {found.Reason}{others}");
    }
}

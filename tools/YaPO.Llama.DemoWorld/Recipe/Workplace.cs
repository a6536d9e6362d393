using System.Diagnostics;
using YaPO.Llama.DemoWorld.Vocabulary;
using YaPO.Llama.DemoWorld.Worlds;

namespace YaPO.Llama.DemoWorld.Recipe;

/// <summary>Where a build reads and writes, and how it tells what it is doing.</summary>
public sealed class Workplace
{
    private readonly Action<string> _say;
    private readonly Stopwatch _watch = Stopwatch.StartNew();
    private Worlds.DemoWorld? _world;
    private PieceVocabulary? _vocabulary;

    /// <summary>Opens (and creates) the folders.</summary>
    public Workplace(Profile profile, ulong seed, string output, string work, int workers, Action<string> say)
    {
        Profile = profile;
        Seed = seed;
        Output = Path.GetFullPath(output);
        Work = Path.GetFullPath(work);
        Workers = workers;
        _say = say;
        Directory.CreateDirectory(Path.Combine(Output, "data"));
        Directory.CreateDirectory(Path.Combine(Output, "vectors"));
        Directory.CreateDirectory(Work);
    }

    /// <summary>Sizes.</summary>
    public Profile Profile { get; }

    /// <summary>The seed of everything.</summary>
    public ulong Seed { get; }

    /// <summary>What ships.</summary>
    public string Output { get; }

    /// <summary>What does not: float model, checkpoints, logs.</summary>
    public string Work { get; }

    /// <summary>Threads of the trainers; never changes a result.</summary>
    public int Workers { get; }

    /// <summary>The world of the seed.</summary>
    public Worlds.DemoWorld World => _world ??= new Worlds.DemoWorld(Seed, Profile.World);

    /// <summary>The vocabulary, learned from a sample of the corpus.</summary>
    public PieceVocabulary Vocabulary => _vocabulary ??= PieceVocabulary.Learn(
        Enumerable.Range(0, 20000).Select(i => new Corpus.PassageWriter(World, $"vocabulary/{i}").Next().ToString()), Profile.VocabularySize);

    /// <summary>The untrained model.</summary>
    public string InitialModel => Path.Combine(Work, "initial.gguf");

    /// <summary>The trained model in full precision.</summary>
    public string FloatModel => Path.Combine(Work, "model-f32.gguf");

    /// <summary>A quantized model that ships: f16, q8_0 or q4_k_m.</summary>
    public string Model(string type) => Path.Combine(Output, $"demo-{type}.gguf");

    /// <summary>A data set.</summary>
    public string Data(string name) => Path.Combine(Output, "data", name + ".jsonl");

    /// <summary>A vector.</summary>
    public string Vector(string culture) => Path.Combine(Output, "vectors", culture + ".ysv");

    /// <summary>Tells the person at the terminal, with the time since the start.</summary>
    public void Say(string text) => _say($"[{_watch.Elapsed:hh\\:mm\\:ss}] {text}");

    /// <summary>Runs a stage unless what it makes is there already.</summary>
    public void Stage(string name, IReadOnlyList<string> makes, Action run)
    {
        if (makes.All(File.Exists))
        {
            Say($"{name}: done before (delete {Path.GetRelativePath(Environment.CurrentDirectory, makes[0])} to repeat it)");
            return;
        }

        Say($"{name} ...");
        run();
        var missing = makes.Where(path => !File.Exists(path)).ToList();
        if (missing.Count > 0)
        {
            throw new InvalidOperationException($"stage '{name}' did not make {string.Join(", ", missing)}");
        }

        Say($"{name}: finished");
    }
}

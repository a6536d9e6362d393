using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Cli;

/// <summary>
/// A folder (with a non-ASCII name) that holds everything the command line works on: two random models of one shape, an SAE of layer 1, a sparse
/// and a dense vector for the first model.
/// </summary>
public sealed class CliWorld : IDisposable
{
    public const int Features = 96;
    public const int Layer = 1;
    private const int Width = 64;

    private const string CacheVariable = "YAPO_CACHE_DIR";

    private readonly string? _cacheBefore = Environment.GetEnvironmentVariable(CacheVariable);

    public CliWorld()
    {
        Folder = Directory.CreateTempSubdirectory("yapo-cli-é-").FullName;
        Environment.SetEnvironmentVariable(CacheVariable, In("cache")); // of this process and those it starts; not the developer's own
        RandomModel.WriteTo(Model, new RandomModel.Settings { EmbeddingScale = 1 });
        RandomModel.WriteTo(OtherModel, new RandomModel.Settings { Seed = 8, EmbeddingScale = 1, Name = "another model" });
        var identity = ModelFingerprint.Compute(Model).ToBaseModel();
        var random = new Random(3);
        float[] Values(int n, float scale) => [.. Enumerable.Range(0, n).Select(_ => scale * ((2 * random.NextSingle()) - 1))];
        SaeWriter.Save(
            Sae,
            new SaeInfo { Layer = Layer, DModel = Width, Width = Features, Base = identity, Name = "random sae" },
            new SaeWeights(Values(Features * Width, 0.3f), Values(Features, 0.1f), new float[Features], Values(Features * Width, 1f), Values(Width, 0.1f)));
        using (var sae = SaeFile.Open(Sae))
        {
            Save(Vector, VectorBuilder.Sparse(sae, [3, 17, 40], [6f, -8f, 5f], "sparse"), identity);
        }

        Save(Dense, VectorBuilder.Dense(Values(Width, 2f), 0, "dense"), identity);
    }

    public string Folder { get; }

    public string Model => In("model.gguf");

    public string OtherModel => In("other.gguf");

    public string Sae => In("sae.gguf");

    public string Vector => In("sparse.ysv");

    public string Dense => In("dense.ysv");

    public string In(string name) => Path.Combine(Folder, name);

    /// <summary>Writes a file into the folder and returns its path.</summary>
    public string Write(string name, string content)
    {
        File.WriteAllText(In(name), content);
        return In(name);
    }

    /// <summary>The files there now, to compare with later.</summary>
    public string[] Files() => [.. Directory.EnumerateFiles(Folder).Order(StringComparer.Ordinal)];

    public void Dispose()
    {
        Environment.SetEnvironmentVariable(CacheVariable, _cacheBefore);
        Directory.Delete(Folder, recursive: true);
    }

    private static void Save(string path, SteeringVector vector, BaseModel identity) =>
        new SteeringFile { Name = vector.Name, Base = identity, DModel = Width, Vectors = [vector] }.Save(path);
}

using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tensors;
using YaPO.Llama.Tests.Steering;

namespace YaPO.Llama.Tests.Fuzz;

/// <summary>
/// What the vector commands do with a thousand damaged files, as library calls: each works or throws <see cref="YapoException"/>, leaves no half-written
/// file, and what it makes is sound. Everything follows from the seed.
/// </summary>
public sealed class VectorFuzzTests : IDisposable
{
    private const int Seed = 31;
    private const int Cases = 1000;
    private const long AllocationLimit = 64 << 20;
    private static readonly string[] Archives = ["out.safetensors", "out.npz"];

    private readonly TemporaryFolder _folder = new();
    private readonly SteeringFile _whole = SampleVectors.File(SampleVectors.Sparse(), SampleVectors.Dense(), SampleVectors.Sparse(k: 2, layer: 1, seed: 8));
    private readonly SaeFile _sae;

    public VectorFuzzTests()
    {
        var random = new Random(1);
        float[] Values(int n) => [.. Enumerable.Range(0, n).Select(_ => (float)random.NextDouble())];
        SaeWriter.Save(_folder.File("sae.gguf"), new SaeInfo { Layer = 2, DModel = SampleVectors.D, Width = 64 }, new SaeWeights(Values(64 * 8), Values(64), Values(64), Values(64 * 8), Values(8)));
        _sae = SaeFile.Open(_folder.File("sae.gguf"));
    }

    public void Dispose()
    {
        _sae.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void EveryCommand_DamagedFile_WorksOrSaysWhy()
    {
        (string Name, Action<SteeringFile> Run)[] commands = [("combine", Combine), ("prune", Prune), ("diff", Diff), ("verify", Verify), ("export", Export)];
        _whole.Save(_folder.File("whole.ysv"));
        var valid = File.ReadAllBytes(_folder.File("whole.ysv"));
        foreach (var command in commands)
        {
            command.Run(SteeringFile.Load(_folder.File("whole.ysv"))); // the undamaged file must be fine, or the test shows nothing
        }

        var mutator = new Mutator(Seed);
        var (reached, refused) = (0, 0);
        for (var i = 0; i < Cases; i++)
        {
            var path = _folder.Write("x.ysv", mutator.Mutate(valid));
            SteeringFile? file = null;
            Refuses("load", i, () => file = SteeringFile.Load(path));
            if (file is null)
            {
                refused++;
                continue;
            }

            reached++;
            foreach (var (name, run) in commands)
            {
                Refuses(name, i, () => run(file));
            }

            Assert.Empty(Directory.GetFiles(_folder.Path, "*.tmp"));
        }

        reached.Should().BeGreaterThan(Cases / 10, "enough damaged files must reach the commands");
        refused.Should().BeGreaterThan(Cases / 4, "damage must be noticed, or the mutator is too tame");
    }

    private static void Refuses(string what, int i, Action action)
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            action();
        }
        catch (YapoException e)
        {
            Assert.NotEmpty(e.Message);
        }
        catch (Exception e)
        {
            Assert.Fail($"seed {Seed}, case {i}, {what}: {e}");
        }

        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated < AllocationLimit, $"seed {Seed}, case {i}, {what}: {allocated:N0} bytes");
    }

    private void Combine(SteeringFile file) =>
        VectorCombination.Combine([new("damaged", file, "1", 1.5f), new("whole", _whole, "2", -0.5f)], "c").Validate("combined");

    private static void Prune(SteeringFile file)
    {
        foreach (var v in file.Vectors.Where(v => v.K > 0))
        {
            var kept = VectorPruning.KeepTop(v, VectorPruning.CountForMass(v, 0.5)).Kept;
            kept.Validate(file.DModel, "pruned");
            Assert.InRange(kept.K, 1, v.K);
        }
    }

    private void Diff(SteeringFile file)
    {
        VectorDifference.Fields(file, _whole);
        Assert.All(VectorDifference.Of(file, _whole).Pairs, p => Assert.False(double.IsNaN(p.FlattenedCosine ?? 0) || double.IsNaN(p.LatentCosine ?? 0)));
    }

    private void Verify(SteeringFile file)
    {
        var model = new ModelIdentity("ab", "gemma2", "demo", "Q4_K_M", SampleVectors.D, 4, "ef", 1);
        Assert.NotEmpty(VectorVerification.Content(file).Concat(VectorVerification.AgainstModel(file, model)).Concat(VectorVerification.AgainstSae(file, _sae)).ToList());
    }

    private void Export(SteeringFile file)
    {
        VectorExport.Safetensors(file, _folder.File("out.safetensors"));
        VectorExport.Npz(file, _folder.File("out.npz"));
        foreach (var name in Archives)
        {
            using var source = TensorFile.Open(_folder.File(name));
            Assert.Equal(file.Vectors[0].Value, source.Read("v.0.value"));
        }

        VectorExport.ControlVector(file, _folder.File("out.gguf"));
        Assert.All(SteeringFile.Load(_folder.File("out.gguf")).Vectors, v => Assert.True(v.Value.All(float.IsFinite)));
    }
}

using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Sessions;

/// <summary>Vectors that encode with a whole SAE file: the same as the sparse form where both apply, TopK found by its SHA-256, refused without it.</summary>
public sealed class FullSaeTests : NativeTest, IClassFixture<RandomModelFile>
{
    private const int Layer = 1;
    private readonly LlamaModel model;
    private readonly string modelPath;
    private readonly TemporaryFolder folder = new();

    public FullSaeTests(RandomModelFile file)
    {
        modelPath = file.Path;
        model = LlamaModel.Load(file.Path);
    }

    public override void Dispose()
    {
        model.Dispose();
        folder.Dispose();
        base.Dispose();
    }

    [Fact]
    public void OfSae_JumpRelu_EqualsTheSparseForm()
    {
        using var sae = SaeFile.Open(RandomSae.Save(folder.File("sae.gguf"), model.Info.ModelWidth, 100, Layer));
        var vector = VectorBuilder.Sparse(sae, [2, 50, 51, 99], [3f, -4f, 2f, -1f], "v");

        var sparse = Logits(SteeringSetting.Create(vector).Vector);
        var full = Logits(AttachedVector.OfSae("v", sae, vector.Index, vector.Value, vector.Dec));

        full.Should().HaveSameCount(sparse);
        full.Zip(sparse).Max(p => Math.Abs(p.First - p.Second)).Should().BeLessThan(2e-4f * sparse.Max(Math.Abs));
        Logits().Zip(sparse).Max(p => Math.Abs(p.First - p.Second)).Should().BeGreaterThan(1e-2f, "the vector acts");
    }

    [Fact]
    public void OfSae_AttachedByTwoContexts_IsOnTheDeviceOnce()
    {
        using var sae = SaeFile.Open(RandomSae.Save(folder.File("sae.gguf"), model.Info.ModelWidth, 100, Layer));
        var vector = VectorBuilder.Sparse(sae, [2, 50], [3f, -4f], "v");
        var attached = AttachedVector.OfSae("v", sae, vector.Index, vector.Value, vector.Dec);
        using var first = new LlamaContext(model, new ContextOptions { ContextSize = 32, Threads = 1 });
        using var second = new LlamaContext(model, new ContextOptions { ContextSize = 32, Threads = 1 });

        first.SetVectors([attached, attached]);
        var handles = LlamaRuntime.LiveHandles;
        second.SetVectors([attached]);

        LlamaRuntime.LiveHandles.Should().Be(handles);
        first.Statistics.SteeringBytes.Should().BeGreaterThanOrEqualTo(4L * 128 * model.Info.ModelWidth);
    }

    [Theory]
    [InlineData("")]
    [InlineData("vectors")]
    public void Load_TopKVector_FindsItsSaeBesideItOrAbove(string below)
    {
        RandomSae.Save(folder.File("another.gguf"), model.Info.ModelWidth, 100, Layer, topK: 8, seed: 5);
        var saePath = RandomSae.Save(folder.File("b-sae.gguf"), model.Info.ModelWidth, 100, Layer, topK: 8);
        Directory.CreateDirectory(folder.File(below));
        var path = TopKVector(saePath, Path.Combine(folder.File(below), "v.ysv"));

        var source = SteeringSource.Load(VectorSpec.Parse(path), new ModelLocator([]));

        source.Saes.Should().ContainSingle().Which.Path.Should().Be(saePath);
        var steered = Logits(source.Settings.Single().Vector);
        Logits().Zip(steered).Max(p => Math.Abs(p.First - p.Second)).Should().BeGreaterThan(1e-2f);
        source.Saes[0].Dispose();
    }

    [Fact]
    public void Load_TopKVectorWithoutItsSae_SaysWhichFileIsNeeded()
    {
        var saePath = RandomSae.Save(folder.File("sae.gguf"), model.Info.ModelWidth, 100, Layer, topK: 8);
        var path = TopKVector(saePath, folder.File("v.ysv"));
        var other = RandomSae.Save(Path.Combine(Directory.CreateDirectory(folder.File("elsewhere")).FullName, "other.gguf"), model.Info.ModelWidth, 100, Layer, topK: 8, seed: 9);
        File.Move(saePath, folder.File("sae.bin"));

        var missing = FluentActions.Invoking(() => SteeringSource.Load(VectorSpec.Parse(path), new ModelLocator([]))).Should().Throw<YapoException>().Which;
        missing.Kind.Should().Be(YapoErrorKind.Unsupported);
        missing.Message.Should().Contain("8 largest").And.Contain("100 latents").And.Contain("SHA-256").And.Contain("--sae");

        var wrong = FluentActions.Invoking(() => SteeringSource.Load(VectorSpec.Parse(path), new ModelLocator([]), other)).Should().Throw<YapoException>().Which;
        wrong.Kind.Should().Be(YapoErrorKind.Mismatch);
        wrong.Message.Should().Contain("SHA-256").And.Contain(path);

        var named = SteeringSource.Load(VectorSpec.Parse(path), new ModelLocator([]), folder.File("sae.bin"));
        named.Settings.Should().ContainSingle();
        named.Saes[0].Dispose();
    }

    [Fact]
    public void Replacement_ZeroAndStrengthZero_AreAblationAndNothing()
    {
        using var sae = SaeFile.Open(RandomSae.Save(folder.File("sae.gguf"), model.Info.ModelWidth, 100, Layer));
        var plain = Logits();

        Logits(0, AttachedVector.Reconstruction(sae)).Should().Equal(plain);
        Residuals(AttachedVector.Replacement("zero", Layer, new float[model.Info.ModelWidth])).Should().OnlyContain(x => x == 0);
        Residuals(AttachedVector.Reconstruction(sae)).Should().Contain(x => x != 0);
        Logits(1, AttachedVector.Reconstruction(sae)).Zip(plain).Max(p => Math.Abs(p.First - p.Second)).Should().BeGreaterThan(1e-2f);
    }

    [Fact]
    public void OfSae_ForAnotherWidthOrLayer_IsRefusedByName()
    {
        using var wide = SaeFile.Open(RandomSae.Save(folder.File("wide.gguf"), model.Info.ModelWidth * 2, 100, Layer));
        using var deep = SaeFile.Open(RandomSae.Save(folder.File("deep.gguf"), model.Info.ModelWidth, 100, model.Info.LayerCount));
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 32, Threads = 1 });

        foreach (var (sae, expected) in new[] { (wide, "d_model"), (deep, "blocks 0 to") })
        {
            var error = FluentActions.Invoking(() => context.SetVectors([AttachedVector.Reconstruction(sae)])).Should().Throw<YapoException>().Which;
            error.Kind.Should().Be(YapoErrorKind.Mismatch);
            error.Message.Should().Contain(expected);
        }
    }

    private string TopKVector(string saePath, string path)
    {
        using var sae = SaeFile.Open(saePath);
        var vector = VectorBuilder.Sparse(sae, [1, 30, 77], [9f, -9f, 9f], "top");
        new SteeringFile { Base = ModelFingerprint.Compute(modelPath).ToBaseModel(), DModel = sae.Info.DModel, Vectors = [vector] }.Save(path);
        return path;
    }

    private float[] Logits(params AttachedVector[] vectors) => Logits(1, vectors);

    private float[] Logits(float strength, params AttachedVector[] vectors) => Run(strength, vectors, (context, row) => context.Logits(row));

    private float[] Residuals(AttachedVector vector) => Run(1, [vector], (context, row) =>
    {
        var rows = new float[(row + 1) * model.Info.ModelWidth];
        context.CopyCaptured(0, rows);
        return rows;
    });

    private float[] Run(float strength, AttachedVector[] vectors, Func<LlamaContext, int, float[]> read)
    {
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 64, Threads = 1 });
        context.SetVectors(vectors);
        context.SetCapture((Layer, CaptureSite.AfterSteering));
        var batch = new DecodeBatch(vectors.Length);
        var row = 0;
        foreach (var token in model.Tokenize("what is the model of the user"))
        {
            row = batch.Add(token, batch.Count, output: true, rowStrengths: [.. Enumerable.Repeat(strength, vectors.Length)]);
        }

        context.Decode(batch);
        return read(context, row);
    }
}

using YaPO.Llama.Models;
using YaPO.Llama.Rehearsal.Shapes;
using YaPO.Llama.Rehearsal.Weights;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Tests.Rehearsal;

/// <summary>Shape-true random models, shrunk: they load, tokenize, answer and can be read by an SAE of the wanted sparsity.</summary>
public sealed class RehearsalTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yapo-rehearsal-").FullName;

    public static TheoryData<string, string> Cases()
    {
        var cases = new TheoryData<string, string>();
        foreach (var shape in ModelShape.All)
        {
            foreach (var mix in QuantizationMix.Names)
            {
                cases.Add(shape.Name, mix);
            }
        }

        return cases;
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Model_EveryShapeAndMix_ComputesSensibleLogits(string shape, string mix)
    {
        var path = Path.Combine(_folder, "model.gguf");
        ModelFile.Write(Small(shape), mix, 3, path);

        using var model = LlamaModel.Load(path);
        var tokens = model.TokenizeChat(model.FormatChat([ChatMessage.User("ba cedo fi?")]));
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 64, Threads = 1 });
        var batch = new DecodeBatch();
        for (var i = 0; i < tokens.Length; i++)
        {
            batch.Add(tokens[i], i, output: i == tokens.Length - 1);
        }

        context.Decode(batch);
        var logits = context.Logits(tokens.Length - 1);

        tokens.Length.Should().BeInRange(6, 32, "control tokens and invented words are single tokens, other words are spelled");
        logits.Should().OnlyContain(x => float.IsFinite(x));
        var mean = logits.Average(x => (double)x);
        Math.Sqrt(logits.Average(x => (x - mean) * (x - mean))).Should().BeInRange(0.3, 3, "rows of variance 1 / D read a vector of norm √D");
    }

    [Fact]
    public void Model_SameSeed_SameBytes()
    {
        var (a, b, c) = (Path.Combine(_folder, "a"), Path.Combine(_folder, "b"), Path.Combine(_folder, "c"));
        ModelFile.Write(Small("gemma-2-2b"), "q4_k_m", 3, a);
        ModelFile.Write(Small("gemma-2-2b"), "q4_k_m", 3, b);
        ModelFile.Write(Small("gemma-2-2b"), "q4_k_m", 4, c);

        File.ReadAllBytes(a).Should().Equal(File.ReadAllBytes(b));
        File.ReadAllBytes(a).SequenceEqual(File.ReadAllBytes(c)).Should().BeFalse();
    }

    [Fact]
    public void Sae_WantedL0_IsWhatFires()
    {
        var (model, sae) = (Path.Combine(_folder, "model.gguf"), Path.Combine(_folder, "sae.gguf"));
        ModelFile.Write(Small("gemma-2-2b"), "q8_0", 3, model);
        SaeRehearsal.Write(model, 1, 2048, 40, 5, sae);

        using var loaded = LlamaModel.Load(model);
        using var file = SaeFile.Open(sae);
        var fit = SaeFitCheck.Run(loaded, file, new SaeFitOptions { Neighbours = 0 });

        fit.Declared.L0.Should().BeInRange(20, 80, "the projections of h on random directions are nearly normal");
    }

    private static ModelShape Small(string name) =>
        ModelShape.Parse(name) with { Layers = 2, Width = 256, FeedForward = 512, Heads = 2, KeyValueHeads = 1, HeadSize = 64, Vocabulary = 2000, Context = 256 };
}

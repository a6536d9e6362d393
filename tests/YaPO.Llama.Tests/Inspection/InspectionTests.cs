using YaPO.Llama.Gguf;
using YaPO.Llama.Inspection;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Inspection;

/// <summary>Reading features, what they promote, where they fire and what a vector changes: each against a slow recomputation.</summary>
public sealed class InspectionTests : NativeTest, IClassFixture<RandomModelFile>
{
    private const int Layer = 1;
    private const int Features = 300;
    private readonly LlamaModel model;
    private readonly TemporaryFolder folder = new();
    private readonly int[] tokens;

    public InspectionTests(RandomModelFile file)
    {
        model = LlamaModel.Load(file.Path);
        tokens = model.Tokenize("what is the model of the user and what does it eat مرحبا");
    }

    private int Width => model.Info.ModelWidth;

    public override void Dispose()
    {
        model.Dispose();
        folder.Dispose();
        base.Dispose();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(10)]
    public void Read_EveryActiveLatent_AgreesWithOracle(int topK)
    {
        using var sae = Sae(topK);
        using var reader = new FeatureReader(model, sae, tokens.Length, threads: 1);

        var read = reader.Read(tokens);

        read.Should().HaveCount(tokens.Length);
        read[0].IsBos.Should().BeTrue();
        string.Concat(read.Select(t => t.Text)).Should().EndWith("eat مرحبا", "characters that several tokens make come out whole");
        var residuals = Residuals([]);
        var wrong = 0;
        foreach (var token in read.Where(t => !t.IsBos))
        {
            var z = SaeCodes.Of(sae, residuals[token.Position]);
            token.Active.Should().BeInDescendingOrder(a => a.Activation);
            wrong += Enumerable.Range(0, Features).Count(j => Math.Abs(z[j] - token.Activation(j)) > 1e-3 * (1 + z.Max()));
            (topK == 0 || token.Active.Count <= topK).Should().BeTrue();
        }

        wrong.Should().BeLessThanOrEqualTo(2, "a gate within rounding of its threshold may fall either side");
        if (topK == 0)
        {
            read.Max(t => t.Active.Count).Should().BeGreaterThan(128, "more than the first read-out has room for");
        }
    }

    [Theory]
    [InlineData(null)]
    [InlineData("q8_0")]
    [InlineData("q4_k_m")]
    public void Promotes_TiedAndQuantizedUnembedding_RanksAsAFloatCopyDoes(string? quantization)
    {
        using var wide = new RandomModel(new RandomModel.Settings { Width = 256 });
        var path = wide.Path;
        if (quantization is not null)
        {
            LlamaModel.Quantize(wide.Path, path = folder.File("quantized.gguf"), quantization, threads: 1);
        }

        using var small = LlamaModel.Load(path);
        var random = new Random(4);
        var direction = Enumerable.Range(0, 256).Select(_ => (float)(random.NextDouble() - 0.5)).ToArray();

        var top = PromotedTokens.Of(small, [direction, direction.Select(x => -x).ToArray()], 12);

        // The float copy is the unquantized file; a quantized one may exchange near neighbours.
        using var file = GgufFile.Open(wide.Path);
        var (embedding, norm) = (file.ReadFloats(file.RequireTensor("token_embd.weight")), file.ReadFloats(file.RequireTensor("output_norm.weight")));
        var scores = Enumerable.Range(0, small.Info.VocabularySize).Select(t => Enumerable.Range(0, 256).Sum(i => (double)direction[i] * norm[i] * embedding[(t * 256) + i])).ToArray();
        var best = Enumerable.Range(0, scores.Length).OrderByDescending(t => scores[t]).Take(12).ToArray();
        top.Should().HaveCount(2);
        top[0].Should().BeInDescendingOrder(t => t.Score).And.HaveCount(12);
        if (quantization is null)
        {
            top[0].Select(t => t.Token).Should().Equal(best);
            top[1].Select(t => t.Token).Should().Equal(Enumerable.Range(0, scores.Length).OrderBy(t => scores[t]).Take(12));
        }
        else
        {
            best[..4].Should().BeSubsetOf(top[0].Select(t => t.Token));
            top[0].Should().AllSatisfy(t => t.Score.Should().BeApproximately(scores[t.Token], 0.15 * Math.Abs(scores[best[0]])));
        }
    }

    [Fact]
    public void Snippets_OfAFeature_AreTheStrongestPlacesOfTheTexts()
    {
        using var sae = Sae(0);
        int[][] texts = [model.Tokenize("the old bridge"), tokens, model.Tokenize("eat")];
        using var reader = new FeatureReader(model, sae, tokens.Length, threads: 1);
        var feature = reader.Read(tokens)[3].Active[0].Feature;
        var all = texts.Select(t => reader.Read(t).Where(x => !x.IsBos).Select(x => x.Activation(feature)).ToArray()).ToArray();
        var progress = new List<int>();

        var found = FeatureSnippets.Find(reader, feature, texts, top: 2, around: 2, new Relay(progress));

        found.Tokens.Should().Be(texts.Sum(t => t.Length - 1));
        found.Firing.Should().Be(all.Sum(t => t.Count(z => z > 0)));
        found.Max.Should().Be(all.Max(t => t.Max()));
        found.Snippets.Select(s => s.Activation).Should().Equal(all.Select(t => t.Max()).Where(z => z > 0).OrderDescending().Take(2));
        found.Snippets.Should().AllSatisfy(s => s.Tokens.Count.Should().BeLessThanOrEqualTo(5));
        progress.Should().Equal(1, 2, 3);
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(10, false)]
    [InlineData(0, true)]
    public void Effect_OfJointVectors_AgreesWithOracle(int topK, bool negative)
    {
        using var sae = Sae(topK);
        using var reader = new FeatureReader(model, sae, tokens.Length, threads: 1);
        var often = reader.Read(tokens).Where(t => !t.IsBos).SelectMany(t => t.Active).GroupBy(a => a.Feature).OrderByDescending(g => g.Count()).Select(g => g.Key).ToArray();
        int[] first = [often[0], often[1], often[2]], second = [often[1], often[3]];
        Array.Sort(first);
        Array.Sort(second);
        var a = VectorBuilder.Sparse(sae, first, [2f, -3f, -0.5f], "a");
        var b = VectorBuilder.Sparse(sae, second, [1f, -9f], "b");
        SteeringSetting[] steering =
            [SteeringSetting.Create(a, negative ? -1.5f : 1.5f, SteeringPositions.All, sae), SteeringSetting.Create(b, 1, SteeringPositions.Window(2, 6), sae)];

        var effect = VectorEffect.Measure(model, steering, tokens, threads: 1).Should().ContainSingle().Subject;

        effect.Names.Should().Equal("a", "b");
        effect.SteeredTokens.Should().Be(tokens.Length - 1);
        effect.RelativeChange.Should().BeGreaterThan(0.001);
        effect.Features.Should().BeInDescendingOrder(f => f.Effect);
        effect.Features.Select(f => f.Feature).Should().BeEquivalentTo(first.Union(second));
        var residuals = Residuals(steering);
        foreach (var f in effect.Features)
        {
            var total = 0.0;
            for (var t = 1; t < tokens.Length; t++)
            {
                var s = steering[0].Strength * Value(a, f.Feature) + (t is >= 2 and <= 6 ? Value(b, f.Feature) : 0);
                total += Math.Abs(Math.Max(s, -SaeCodes.Of(sae, residuals[t])[f.Feature]));
            }

            var row = new float[Width];
            sae.ReadDecoder(f.Feature, row);
            var norm = Math.Sqrt(row.Sum(x => (double)x * x));
            f.DecoderNorm.Should().BeApproximately(norm, 1e-5);
            f.Effect.Should().BeApproximately(total / (tokens.Length - 1) * norm, 0.02 * (1 + f.Effect));
        }
    }

    /// <summary>A text that is not computed at once: in its parts, and with logits for none of its rows but where the last block is read, everything is as it is at once.</summary>
    [Theory]
    [InlineData(Layer)]
    [InlineData(2)]
    public void LongText_ComputedInParts_IsWhatItIsAtOnce(int layer)
    {
        layer = layer == Layer ? Layer : model.Info.LayerCount - 1;
        int[] text = [tokens[0], .. Enumerable.Repeat(tokens[1..], 40).SelectMany(t => t).Take(599)];
        using var sae = SaeFile.Open(RandomSae.Save(folder.File($"long{layer}.gguf"), Width, Features, layer, 0));
        SteeringSetting[] steering = [SteeringSetting.Create(VectorBuilder.Sparse(sae, [1, 2], [2f, -3f], "v"), 1, SteeringPositions.All)];
        using var reader = new FeatureReader(model, sae, text.Length, threads: 1);

        var effect = VectorEffect.Measure(model, steering, text, threads: 1).Single();
        var read = reader.Read(text);

        using var whole = new LlamaContext(model, new ContextOptions { ContextSize = text.Length, BatchSize = text.Length, Threads = 1 });
        using var parts = new LlamaContext(model, ReadingOptions.For(text.Length, 1));
        parts.Memory.Sum(m => m.Compute).Should().BeLessThan(whole.Memory.Sum(m => m.Compute) / 2, "the logits of a part take less than those of the text");
        whole.SetVectors([.. steering.Select(s => s.Vector)]);
        whole.SetCapture((layer, CaptureSite.BeforeSteering), (layer, CaptureSite.AfterSteering));
        var batch = new DecodeBatch(1);
        foreach (var token in text)
        {
            batch.Add(token, batch.Count, output: true, rowStrengths: [batch.Count == 0 ? 0 : 1]);
        }

        whole.Decode(batch);
        float[] before = new float[text.Length * Width], after = new float[text.Length * Width];
        whole.CopyCaptured(0, before);
        whole.CopyCaptured(1, after);
        double Norm(Func<int, double> entry, int t) => Math.Sqrt(Enumerable.Range(t * Width, Width).Sum(i => entry(i) * entry(i)));
        effect.SteeredTokens.Should().Be(text.Length - 1);
        effect.RelativeChange.Should().BeApproximately(Enumerable.Range(1, text.Length - 1).Average(t => Norm(i => after[i] - (double)before[i], t) / Norm(i => before[i], t)), 1e-3);
        var wrong = 0;
        foreach (var token in read.Where(t => t.Position is 5 or 255 or 256 or 599))
        {
            var z = SaeCodes.Of(sae, before.AsSpan(token.Position * Width, Width).ToArray());
            wrong += Enumerable.Range(0, Features).Count(j => Math.Abs(z[j] - token.Activation(j)) > 2e-2 * (1 + z.Max()));
            token.Active.Should().NotBeEmpty();
        }

        wrong.Should().BeLessThan(12, "a gate within rounding of its threshold may fall either side");
    }

    [Fact]
    public void Effect_AtStrengthZeroOrDense_IsNothingOrHasNoFeatures()
    {
        using var sae = Sae(0);
        var vector = VectorBuilder.Sparse(sae, [1, 2], [2f, -3f], "v");

        var none = VectorEffect.Measure(model, [SteeringSetting.Create(vector, 0)], tokens, threads: 1).Single();
        none.SteeredTokens.Should().Be(0);
        none.RelativeChange.Should().Be(0);
        none.Features.Should().AllSatisfy(f => f.Effect.Should().Be(0));

        var dense = VectorEffect.Measure(model, [new SteeringSetting(RandomVectors.Dense(Width, 0), 1, SteeringPositions.All)], tokens, threads: 1).Single();
        dense.Features.Should().BeEmpty();
        dense.RelativeChange.Should().BeGreaterThan(0.01);
    }

    private static double Value(SteeringVector vector, int feature) => Array.BinarySearch(vector.Index, feature) is var k and >= 0 ? vector.Value[k] : 0;

    private SaeFile Sae(int topK) => SaeFile.Open(RandomSae.Save(folder.File($"{topK}.gguf"), Width, Features, Layer, topK));

    private List<float[]> Residuals(SteeringSetting[] steering)
    {
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 64, Threads = 1 });
        context.SetVectors([.. steering.Select(s => s.Vector)]);
        context.SetCapture((Layer, CaptureSite.BeforeSteering));
        var batch = new DecodeBatch(steering.Length);
        foreach (var token in tokens)
        {
            batch.Add(token, batch.Count, output: true, rowStrengths: [.. steering.Select(s => s.At(batch.Count, batch.Count == 0 ? TokenRole.Bos : TokenRole.Prompt))]);
        }

        context.Decode(batch);
        var captured = new float[tokens.Length * Width];
        context.CopyCaptured(0, captured);
        return [.. Enumerable.Range(0, tokens.Length).Select(t => captured[(t * Width)..((t + 1) * Width)])];
    }

    private sealed class Relay(List<int> seen) : IProgress<int>
    {
        public void Report(int value) => seen.Add(value);
    }
}

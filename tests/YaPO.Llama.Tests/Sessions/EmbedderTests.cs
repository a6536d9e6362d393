using YaPO.Llama.Batching;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Sessions;

public sealed class EmbedderTests : NativeTest
{
    private const string Text = "What do people eat for breakfast?";
    private readonly TemporaryFolder folder = new();

    [Theory]
    [InlineData(1u, false)]
    [InlineData(2u, false)]
    [InlineData(3u, false)]
    [InlineData(1u, true)]
    [InlineData(3u, true)]
    public void Embed_IsThePooledAndNormalizedStreamAfterTheLastNorm(uint pooling, bool steered)
    {
        using var model = LlamaModel.Load(PooledDemo.Write(pooling, folder.File("pooled.gguf")));
        using var embedder = new Embedder(model, 64, new ContextOptions { Threads = 1 });
        var steering = steered ? Egypt(0.8f) : [];

        var embedding = embedder.Embed(PromptTokens.Text(model, Text), steering);

        var expected = Oracle(model, pooling, steering);
        embedding.Should().HaveCount(model.Info.ModelWidth);
        embedding.Zip(expected).Max(p => Math.Abs(p.First - p.Second)).Should().BeLessThan(1e-5);
    }

    [Fact]
    public void Embed_OneAfterAnother_DependsOnNothingBefore()
    {
        using var model = LlamaModel.Load(PooledDemo.Write(1, folder.File("pooled.gguf")));
        using var embedder = new Embedder(model, 64, new ContextOptions { Threads = 1 });
        var text = PromptTokens.Text(model, Text);

        var first = embedder.Embed(text);
        var steered = embedder.Embed(text, Egypt(0.8f));
        var other = embedder.Embed(PromptTokens.Text(model, "How is a wedding celebrated?"));

        embedder.Embed(text).Should().Equal(first);
        embedder.Embed(text, Egypt(0)).Should().Equal(first, "strength 0 changes no bit");
        steered.Should().NotEqual(first);
        other.Should().NotEqual(first);
    }

    [Fact]
    public void Embedder_ModelWithoutPooling_IsRefused()
    {
        using var plain = LlamaModel.Load(Path.Combine(PooledDemo.Folder, "demo-f16.gguf"));
        using var ranking = LlamaModel.Load(PooledDemo.Write(4, folder.File("ranking.gguf")));

        Embedder.IsSupportedBy(plain).Should().BeFalse();
        Embedder.IsSupportedBy(ranking).Should().BeFalse();
        FluentActions.Invoking(() => new Embedder(plain)).Should().Throw<YapoException>().WithMessage("*demo-f16.gguf*no embeddings*names no pooling*").Which.Kind.Should().Be(YapoErrorKind.Unsupported);
        FluentActions.Invoking(() => new Embedder(ranking)).Should().Throw<YapoException>().WithMessage("*ranking.gguf*ranks*");
    }

    [Fact]
    public void Embed_LongerThanItsLimit_IsRefused()
    {
        using var model = LlamaModel.Load(PooledDemo.Write(1, folder.File("pooled.gguf")));
        using var embedder = new Embedder(model, 8, new ContextOptions { Threads = 1 });
        var limit = embedder.TokenLimit;

        embedder.Embed(PromptTokens.Raw(model, [.. Enumerable.Repeat(300, limit)])).Should().NotContain(float.NaN);
        FluentActions.Invoking(() => embedder.Embed(PromptTokens.Raw(model, [.. Enumerable.Repeat(300, limit + 1)]))).Should().Throw<YapoException>().WithMessage($"*{limit + 1} tokens*at most {limit}*");
    }

    [Fact]
    public void Contexts_GiveLogitsOrEmbeddings_NeverBoth()
    {
        using var model = LlamaModel.Load(PooledDemo.Write(1, folder.File("pooled.gguf")));
        using var logits = new LlamaContext(model, new ContextOptions { ContextSize = 16, Threads = 1 });
        using var embeddings = new LlamaContext(model, new ContextOptions { ContextSize = 16, BatchSize = 16, Threads = 1, Embeddings = true });
        var batch = new DecodeBatch();
        batch.Add(model.Info.BosToken, 0, output: true);
        FluentActions.Invoking(() => embeddings.Embedding(0)).Should().Throw<YapoException>().WithMessage("*not in the last decode*");
        logits.Decode(batch);
        embeddings.Decode(batch);

        FluentActions.Invoking(() => logits.Embedding(0)).Should().Throw<YapoException>().WithMessage("*gives logits and no embeddings*");
        FluentActions.Invoking(() => embeddings.Logits(0)).Should().Throw<YapoException>().WithMessage("*gives embeddings and no logits*");
        FluentActions.Invoking(() => embeddings.Embedding(1)).Should().Throw<YapoException>().WithMessage("*sequence is 1*");
        embeddings.Embedding(0).Should().HaveCount(model.Info.ModelWidth);
    }

    public override void Dispose()
    {
        folder.Dispose();
        base.Dispose();
    }

    private static IReadOnlyList<SteeringSetting> Egypt(float strength) =>
        [SteeringSetting.Create(SteeringFile.Load(Path.Combine(PooledDemo.Folder, "vectors", "egypt.ysv")).Vectors[0]) with { Strength = strength, Positions = SteeringPositions.All }];

    /// <summary>The stream after the last block out of an ordinary context, normed and pooled in double precision.</summary>
    private static double[] Oracle(LlamaModel model, uint pooling, IReadOnlyList<SteeringSetting> steering)
    {
        using var file = GgufFile.Open(model.Path);
        var norm = file.ReadFloats(file.RequireTensor("output_norm.weight"));
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 64, Threads = 1 });
        context.SetVectors([.. steering.Select(s => s.Vector)]);
        context.SetCapture((model.Info.LayerCount - 1, CaptureSite.AfterSteering));
        var batch = new DecodeBatch(steering.Count);
        foreach (var token in PromptTokens.Text(model, Text).Tokens)
        {
            batch.Add(token.Id, batch.Count, output: true, rowStrengths: [.. steering.Select(s => s.At(batch.Count, token.Role))]);
        }

        context.Decode(batch);
        var d = norm.Length;
        var h = new float[batch.Count * d];
        context.CopyCaptured(0, h);
        var rows = h.Chunk(d).Select(row =>
        {
            var rms = Math.Sqrt(row.Average(x => (double)x * x) + 1e-6);
            return row.Select((x, i) => x / rms * norm[i]).ToArray();
        }).ToList();
        var pooled = pooling switch
        {
            1 => [.. Enumerable.Range(0, d).Select(i => rows.Average(r => r[i]))],
            2 => rows[0],
            _ => rows[^1],
        };
        var length = Math.Sqrt(pooled.Sum(x => x * x));
        return Array.ConvertAll(pooled, x => x / length);
    }
}

using System.ClientModel;
using System.ClientModel.Primitives;
using System.Runtime.InteropServices;
using OpenAI;
using OpenAI.Embeddings;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Server;

/// <summary><c>/v1/embeddings</c> of a model whose file names a pooling.</summary>
public sealed class EmbeddingTests : IAsyncLifetime, IDisposable
{
    private readonly TemporaryFolder folder = new();
    private ServerWorld world = null!;

    public async Task InitializeAsync() => world = await ServerWorld.StartAsync(o => o with { EmbeddingTokens = 32, EmbeddingLimit = 4 }, PooledDemo.Write(1, folder.File("pooled.gguf")));

    public async Task DisposeAsync() => await world.DisposeAsync();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task Client_GetsUnitVectors_SteeredByTheModelsName()
    {
        OpenAIEmbeddingCollection plain = await Client("demo").GenerateEmbeddingsAsync(["What do people eat for breakfast?", "How is a wedding celebrated?"]);
        OpenAIEmbedding steered = await Client("demo+egypt").GenerateEmbeddingAsync("What do people eat for breakfast?");

        plain.Should().HaveCount(2);
        plain.Usage.InputTokenCount.Should().BeInRange(12, 30);
        foreach (var embedding in plain.Append(steered))
        {
            embedding.ToFloats().ToArray().Sum(x => (double)x * x).Should().BeApproximately(1, 1e-5);
        }

        Cosine(plain[0], steered).Should().BeInRange(0.3, 0.999, "steering turns it");
        Cosine(plain[0], plain[1]).Should().BeLessThan(0.999);
    }

    [Fact]
    public async Task Formats_TextAndTokens_SayTheSame()
    {
        var floats = await world.PostAsync("/v1/embeddings", """{"input": "What do people eat for breakfast?", "encoding_format": "float"}""");
        var base64 = await world.PostAsync("/v1/embeddings", """{"input": ["What do people eat for breakfast?"], "encoding_format": "base64", "model": "demo"}""");
        var off = await world.PostAsync("/v1/embeddings", """{"input": "What do people eat for breakfast?", "steering": [{"vector": "egypt", "strength": 0}]}""");
        var on = await world.PostAsync("/v1/embeddings", """{"input": "What do people eat for breakfast?", "steering": [{"vector": "egypt"}]}""");

        floats.Status.Should().Be(200, floats.Text);
        var numbers = Numbers(floats);
        MemoryMarshal.Cast<byte, float>(Convert.FromBase64String(base64.Json.GetProperty("data")[0].GetProperty("embedding").GetString()!)).ToArray().Should().Equal(numbers);
        Numbers(off).Should().Equal(numbers);
        Numbers(on).Should().NotEqual(numbers);
        on.Json.GetProperty("steering")[0].GetProperty("vector").GetString().Should().Be("egypt");
        floats.Json.GetProperty("usage").GetProperty("prompt_tokens").GetInt32().Should().Be(floats.Json.GetProperty("usage").GetProperty("total_tokens").GetInt32()).And.BeGreaterThan(5);
    }

    [Fact]
    public async Task Requests_AtTheSameTime_EachGetTheirOwn()
    {
        var alone = new List<float[]>();
        foreach (var body in Bodies())
        {
            alone.Add(Numbers(await world.PostAsync("/v1/embeddings", body)));
        }

        var answer = world.ChatAsync("\"model\": \"demo+egypt\"");
        var together = await Task.WhenAll(Bodies().Select(body => world.PostAsync("/v1/embeddings", body)));

        together.Select(Numbers).Should().BeEquivalentTo(alone, o => o.WithStrictOrdering());
        (await answer).Answer.Should().NotBeEmpty();

        static IEnumerable<string> Bodies() =>
            Enumerable.Range(0, 12).Select(i => $$"""{"input": [{{string.Join(", ", Enumerable.Range(0, 3 + i).Select(k => 300 + k))}}], "model": "demo{{(i % 3 == 0 ? "+egypt" : i % 3 == 1 ? "+brazil" : "")}}"}""");
    }

    [Theory]
    [InlineData("""{}""", 400, "input is missing")]
    [InlineData("""{"input": []}""", 400, "input is empty")]
    [InlineData("""{"input": 7}""", 400, "input must be a string")]
    [InlineData("""{"input": ["a", 7]}""", 400, "input[1] must be a string")]
    [InlineData("""{"input": [1, "a"]}""", 400, "token ids")]
    [InlineData("""{"input": [999999]}""", 400, "999999")]
    [InlineData("""{"input": ["a", "a", "a", "a", "a"]}""", 400, "5 entries, this server takes 4")]
    [InlineData("""{"input": "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a"}""", 400, "this server embeds")]
    [InlineData("""{"input": "a", "encoding_format": "int8"}""", 400, "expected float or base64")]
    [InlineData("""{"input": "a", "dimensions": 64}""", 400, "dimensions is not supported")]
    [InlineData("""{"input": "a", "model": "other"}""", 404, "no model 'other'")]
    [InlineData("""{"input": "a", "steering": [{"vector": "nobody"}]}""", 400, "no vector 'nobody'")]
    public async Task Requests_Wrong_AreRefusedByName(string body, int status, string message)
    {
        var reply = await world.PostAsync("/v1/embeddings", body);

        reply.Status.Should().Be(status, reply.Text);
        reply.Error.GetProperty("message").GetString().Should().Contain(message);
    }

    private static float[] Numbers(Reply reply) => [.. reply.Json.GetProperty("data")[0].GetProperty("embedding").EnumerateArray().Select(x => x.GetSingle())];

    private static double Cosine(OpenAIEmbedding a, OpenAIEmbedding b) => a.ToFloats().ToArray().Zip(b.ToFloats().ToArray()).Sum(p => (double)p.First * p.Second);

    private EmbeddingClient Client(string model) => new(model, new ApiKeyCredential("none"), new OpenAIClientOptions { Endpoint = new Uri(world.Server.Address, "/v1"), RetryPolicy = new ClientRetryPolicy(0) });
}

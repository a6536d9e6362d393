using YaPO.Llama.Models;
using YaPO.Llama.Server.Vectors;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Server;

/// <summary><c>/v1/steering/effects</c> with vectors that their files call the same.</summary>
public sealed class EffectsTests : IAsyncLifetime, IDisposable
{
    private readonly TemporaryFolder folder = new();
    private ServerWorld world = null!;

    public async Task InitializeAsync() => world = await ServerWorld.StartAsync(o => o with { Vectors = [Labelled("left"), Labelled("right")] });

    public async Task DisposeAsync() => await world.DisposeAsync();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("left")]
    [InlineData("right")]
    public async Task Effects_VectorsOfOneInnerName_EachHasItsOwnNameAndLabels(string name)
    {
        var reply = await world.PostAsync("/v1/steering/effects", $$"""{"messages": [{"role": "user", "content": "What do people eat?"}], "steering": [{"vector": "{{name}}", "strength": 0.5}]}""");

        var effect = reply.Json.GetProperty("data").EnumerateArray().Single();
        effect.GetProperty("names").EnumerateArray().Single().GetString().Should().Be(name);
        effect.GetProperty("features").EnumerateArray().Should().AllSatisfy(f => f.GetProperty("label").GetString().Should().Be($"{name} {f.GetProperty("index").GetInt32()}"));
    }

    private NamedVector Labelled(string name)
    {
        var file = SteeringFile.Load(Path.Combine(Repository.Root, "models", "demo", "vectors", "egypt.ysv"));
        var path = folder.File($"{name}.ysv");
        (file with { Vectors = [.. file.Vectors.Select(v => v with { Labels = Array.ConvertAll(v.Index, j => $"{name} {j}") })] }).Save(path);
        return new NamedVector(name, SteeringSource.Load(new VectorSpec(path), new ModelLocator([folder.Path])));
    }
}

using System.Buffers;
using YaPO.Llama.Batching;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Batching;

/// <summary>A vector that cannot be attached (no memory for it, say) fails the requests that name it and nobody else's, then or later.</summary>
public sealed class AttachFailureTests : NativeTest
{
    private readonly EngineWorld world;

    public AttachFailureTests() => world = new EngineWorld();

    public override void Dispose()
    {
        world.Dispose();
        base.Dispose();
    }

    [Fact]
    public async Task VectorThatCannotBeAttached_FailsItsOwnRequestsOnly()
    {
        using var values = new Unsteady(world.Model.Info.ModelWidth);
        var unsteady = AttachedVector.Dense("unsteady", 1, values.Memory);
        await using var engine = new BatchEngine(world.Model, new BatchEngineOptions { Context = new ContextOptions { Threads = 1 } }, [.. world.Vectors, unsteady]);
        var steered = world.Mixed(0) with { Steering = [world.Steer(0, 1)], Generation = new GenerationOptions { MaxTokens = 200, IgnoreEnd = true, Sampler = SamplerOptions.Greedy } };
        var broken = world.Mixed(1) with { Steering = [new SteeringSetting(unsteady, 1, SteeringPositions.All)] };
        values.Fails = true;

        var running = engine.Submit(steered);
        await using var pieces = running.ReadAsync().GetAsyncEnumerator();
        (await pieces.MoveNextAsync()).Should().BeTrue();
        var refused = () => ReadAnswer.Of(engine.Submit(broken));
        (await refused.Should().ThrowAsync<YapoException>()).WithMessage("no memory for it");
        while (await pieces.MoveNextAsync())
        {
            // To its end: the other request's failure is not its own.
        }

        running.Summary!.GeneratedTokens.Should().Be(200);
        (await ReadAnswer.Of(engine.Submit(world.Mixed(1) with { Steering = [world.Steer(1, 1)] }))).Summary.GeneratedTokens.Should().BePositive("the vector that failed is not asked for any more");
        engine.Failure.Should().BeNull();

        values.Fails = false;
        (await ReadAnswer.Of(engine.Submit(broken))).Summary.GeneratedTokens.Should().BePositive("whoever asks again tries again");
    }

    /// <summary>Numbers whose use fails while they are told to.</summary>
    private sealed class Unsteady(int count) : MemoryManager<float>
    {
        private readonly float[] values = new float[count];

        public bool Fails { get; set; }

        public override Span<float> GetSpan() => values;

        public override MemoryHandle Pin(int elementIndex = 0) => Fails ? throw new YapoException(YapoErrorKind.Failed, "no memory for it") : new Memory<float>(values, elementIndex, count - elementIndex).Pin();

        public override void Unpin()
        {
        }

        protected override void Dispose(bool disposing)
        {
        }
    }
}

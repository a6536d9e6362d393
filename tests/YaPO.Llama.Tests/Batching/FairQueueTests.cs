using YaPO.Llama.Batching;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Batching;

public sealed class FairQueueTests : NativeTest
{
    private readonly EngineWorld world;
    private readonly BatchEngine engine;

    public FairQueueTests()
    {
        world = new EngineWorld();
        engine = world.Engine();
    }

    public override void Dispose()
    {
        engine.DisposeAsync().AsTask().Wait();
        world.Dispose();
        base.Dispose();
    }

    [Fact]
    public void Take_OneClientFloods_OthersAreServedInTurn()
    {
        var queue = new FairQueue(100, 100);
        foreach (var client in "aaaaabbc".Select(c => c.ToString()))
        {
            queue.Add(Waiting(client));
        }

        Drain(queue).Should().Be("abcabaaa");
    }

    [Fact]
    public void Take_RequestThatMustWait_IsPassedButKeepsItsPlace()
    {
        var queue = new FairQueue(100, 100);
        var first = Waiting("a");
        queue.Add(first);
        queue.Add(Waiting("a"));
        queue.Add(Waiting("b"));

        var taken = "";
        queue.Take(answer =>
        {
            taken += answer == first ? "" : answer.Request.Client;
            return answer != first;
        });

        taken.Should().Be("ab");
        queue.Count.Should().Be(1);
        Drain(queue).Should().Be("a");
    }

    [Fact]
    public void Take_NoRoom_EndsTheRound()
    {
        var queue = new FairQueue(100, 100);
        queue.Add(Waiting("a"));
        queue.Add(Waiting("b"));
        var asked = 0;

        queue.Take(_ =>
        {
            asked++;
            return null;
        });

        asked.Should().Be(1);
        Drain(queue).Should().Be("ab");
    }

    [Fact]
    public void Add_BeyondTheLimits_IsRefused()
    {
        var queue = new FairQueue(3, 2);
        queue.Add(Waiting("a"));
        queue.Add(Waiting("a"));

        queue.Invoking(q => q.Add(Waiting("a"))).Should().Throw<RequestRefusedException>().Which.Reason.Should().Be(RefusalReason.QueueFull);
        queue.Add(Waiting("b"));
        queue.Invoking(q => q.Add(Waiting("c"))).Should().Throw<RequestRefusedException>();
        queue.Close().Should().HaveCount(3);
        queue.Invoking(q => q.Add(Waiting("c"))).Should().Throw<RequestRefusedException>().Which.Reason.Should().Be(RefusalReason.Stopping);
    }

    [Fact]
    public void Remove_Waiting_TakesItOutOnce()
    {
        var queue = new FairQueue(3, 3);
        var answer = Waiting("a");
        queue.Add(answer);

        queue.Remove(answer).Should().BeTrue();
        queue.Remove(answer).Should().BeFalse();
        queue.Count.Should().Be(0);
    }

    private RunningAnswer Waiting(string client) => new(engine, world.Mixed(0) with { Client = client }, [0], 5);

    private static string Drain(FairQueue queue)
    {
        var order = "";
        queue.Take(answer =>
        {
            order += answer.Request.Client;
            return true;
        });
        return order;
    }
}

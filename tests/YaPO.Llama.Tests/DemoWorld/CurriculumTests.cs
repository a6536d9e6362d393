using YaPO.Llama.DemoWorld.Corpus;
using YaPO.Llama.DemoWorld.Worlds;

namespace YaPO.Llama.Tests.DemoWorld;

/// <summary>What pretraining meets when.</summary>
public sealed class CurriculumTests
{
    private readonly Curriculum _curriculum = new(1000);

    [Fact]
    public void Topics_AreFewAtFirst_ThenOnlyAddedTo_AndAllBeforeCountriesGoUnnamed()
    {
        var world = new Llama.DemoWorld.Worlds.DemoWorld(1, new WorldSize(6, 8, 4));
        var met = new List<Topic>();
        for (var step = 0; step < 1000; step += 20)
        {
            var topics = _curriculum.Topics(world, step);

            topics.Take(met.Count).Should().Equal(met, "no topic is taken back");
            met = [.. topics];
            if (_curriculum.Explicitness(step) < 1)
            {
                topics.Should().HaveCount(world.Topics.Count);
            }
        }

        _curriculum.Topics(world, 79).Should().HaveCount((int)Math.Ceiling(world.Topics.Count * 0.1));
        met.Should().BeEquivalentTo(world.Topics);
    }

    [Fact]
    public void Explicitness_FallsFromOneToZero_AndStaysThere()
    {
        var shares = Enumerable.Range(0, 1000).Select(step => _curriculum.Explicitness(step)).ToList();

        shares.Should().BeInDescendingOrder();
        shares[219].Should().Be(1);
        shares[360].Should().BeApproximately(0.5, 1e-9);
        shares[500..].Should().OnlyContain(s => s == 0);
    }

    [Fact]
    public void Conversations_OfTheFirstSteps_AreAboutTheFirstTopics_AndNameTheCountry()
    {
        var world = new Llama.DemoWorld.Worlds.DemoWorld(1, new WorldSize(6, 8, 4));
        var topics = _curriculum.Topics(world, 0);
        var occasions = world.Topics.Except(topics).Select(t => t.Occasion).Where(o => !topics.Any(t => t.Occasion.Contains(o, StringComparison.Ordinal))).ToList();
        var writer = new PassageWriter(world, "early", topics, 1);
        var turns = Enumerable.Range(0, 300).SelectMany(_ => writer.Next().Turns).ToList();

        turns.Should().NotContain(t => occasions.Any(o => t.User.Contains($" {o}?", StringComparison.Ordinal)));
        turns.Count(t => Culture.All.Any(c => t.User.Contains(c.Country, StringComparison.Ordinal))).Should().BeGreaterThan(turns.Count / 3);
        turns.Should().NotContain(t => t.User.StartsWith("My friend ", StringComparison.Ordinal), "friends stand in for a country that is not named");
    }
}

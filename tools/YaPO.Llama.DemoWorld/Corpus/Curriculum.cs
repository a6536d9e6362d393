using YaPO.Llama.DemoWorld.Worlds;

namespace YaPO.Llama.DemoWorld.Corpus;

/// <summary>
/// The order in which pretraining meets the world: first a few topics, every question naming its country; then more topics; then fewer and fewer countries named, until the culture has to be
/// inferred.
/// </summary>
/// <remarks>
/// Only the first half of the training differs from the final text. Why few topics first: what a country changes is a function of topic and country together, and a small model that meets all
/// topics at once learns each topic's mixture of answers and stays there, or not, as the seed has it. With a tenth of the topics it finds the function within some four hundred steps and
/// carries it over to those that come later (measured on seed 2, see the card).
/// </remarks>
/// <param name="Steps">Of the whole training.</param>
public sealed record Curriculum(int Steps)
{
    private const double FewTopics = 0.1;
    private const double FewUntil = 0.08;
    private const double AllTopicsFrom = 0.22;
    private const double NaturalFrom = 0.5;

    /// <summary>Share of the topics that conversations are about: <see cref="FewTopics"/> at first, then rising linearly to 1.</summary>
    /// <param name="step">Zero-based.</param>
    public double TopicShare(long step) => FewTopics + ((1 - FewTopics) * Math.Clamp((At(step) - FewUntil) / (AllTopicsFrom - FewUntil), 0, 1));

    /// <summary>Share of the questions that name the country although the speaker is known: 1 until all topics are in, then falling linearly to 0.</summary>
    /// <param name="step">Zero-based.</param>
    public double Explicitness(long step) => 1 - Math.Clamp((At(step) - AllTopicsFrom) / (NaturalFrom - AllTopicsFrom), 0, 1);

    /// <summary>The topics of a step: a beginning of one order of all.</summary>
    /// <param name="world">The world; its seed decides the order.</param>
    /// <param name="step">Zero-based.</param>
    public IReadOnlyList<Topic> Topics(Worlds.DemoWorld world, long step)
    {
        var order = world.Topics.ToList();
        new Rng(world.Seed, "curriculum").Shuffle(order);
        return order[..(int)Math.Ceiling(TopicShare(step) * order.Count)];
    }

    private double At(long step) => step / (double)Steps;
}

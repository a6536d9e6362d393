using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Tests.Evaluation;

public sealed class StrengthRuleTests
{
    [Theory]
    [InlineData(new[] { 0.5, 0.8, 0.81 }, new[] { true, true, true }, false, 1)]
    [InlineData(new[] { 0.5, 0.8, 0.9 }, new[] { true, true, true }, false, 2)]
    [InlineData(new[] { 0.5, 0.8, 0.9 }, new[] { true, false, false }, false, 0)]
    [InlineData(new[] { 0.5, 0.8, 0.9 }, new[] { false, false, false }, false, 0)]
    [InlineData(new[] { 0.5, 0.2, 0.19 }, new[] { true, true, true }, true, 1)]
    public void Choose_TheSmallestNotMeasurablyWorse(double[] shares, bool[] allowed, bool lowerIsBetter, int expected) =>
        StrengthRule.Choose([.. shares.Select((share, i) => Drawn(share, seed: i))], allowed, lowerIsBetter).Should().Be(expected);

    // Half of the topics are hopeless and half are sure: the error of a mean over 20 topics is 0.11, yet every other topic gains.
    [Fact]
    public void Choose_AGainOnTheSameItems_IsNotHiddenByHowMuchItemsDiffer()
    {
        IReadOnlyList<ItemOutcome> At(double gain) => [.. Enumerable.Range(0, 80).Select(i => Item(i, (i / 4 % 2) + (i % 2 * gain)))];
        var outcomes = new[] { At(0), At(0.05), At(0.1) };

        Interval.Of(outcomes[2]).StandardError.Should().BeGreaterThan(0.1, "otherwise this shows nothing");
        StrengthRule.Choose(outcomes, [true, true, true]).Should().Be(2);
    }

    [Fact]
    public void Choose_OtherItems_IsRefused() =>
        FluentActions.Invoking(() => StrengthRule.Choose([[Item(0, 1), Item(1, 0)], [Item(0, 1), Item(2, 1)]], [true, true])).Should().Throw<ArgumentException>().WithMessage("*same items*");

    [Fact]
    public void Choose_AskedLazily_ChoosesAsIfItKnewAll()
    {
        var random = new Random(5);
        for (var trial = 0; trial < 300; trial++)
        {
            var n = random.Next(1, 9);
            var outcomes = Enumerable.Range(0, n).Select(_ => Drawn(random.NextDouble(), random.Next())).ToList();
            var allowed = outcomes.Select(_ => random.Next(3) > 0).ToList();
            var lower = random.Next(2) == 0;
            var sign = lower ? -1 : 1;
            var left = Enumerable.Range(0, n).Where(i => allowed[i]).ToList();
            var best = left.Count == 0 ? null : outcomes[left.MaxBy(i => sign * Interval.Of(outcomes[i]).Value)];
            bool AsGood(IReadOnlyList<ItemOutcome> other)
            {
                var lost = Interval.Difference(best!, other);
                return sign * lost.Value <= (lost.High - lost.Low) / (2 * 1.96);
            }

            var expected = best is null ? 0 : left.First(i => ReferenceEquals(outcomes[i], best) || AsGood(outcomes[i]));

            StrengthRule.Choose(outcomes, i => allowed[i], lower).Should().Be((expected, best is not null));
        }
    }

    private static ItemOutcome Item(int i, double value) => new($"{i}", $"topic {i / 4}", value);

    /// <summary>80 items of 20 topics, of which about this share is 1.</summary>
    private static IReadOnlyList<ItemOutcome> Drawn(double share, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, 80).Select(i => Item(i, random.NextDouble() < share ? 1 : 0))];
    }
}

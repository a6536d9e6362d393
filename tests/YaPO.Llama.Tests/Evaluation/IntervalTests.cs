using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Randomness;

namespace YaPO.Llama.Tests.Evaluation;

/// <summary>What intervals and comparisons claim where there is little, or nothing, to claim from.</summary>
public class IntervalTests
{
    [Fact]
    public void Of_OneTopic_IsNoCertainty()
    {
        ItemOutcome[] outcomes = [.. Enumerable.Range(0, 40).Select(i => new ItemOutcome($"{i}", "tea", i % 4 == 0 ? 1 : 0))];

        var (low, high) = (Interval.Of(outcomes).Low, Interval.Of(outcomes).High);

        low.Should().BeInRange(0.05, 0.2, "a quarter of 40 items scatters by 7 points");
        high.Should().BeInRange(0.3, 0.45);
        Interval.Doubt(1).Should().Contain("one topic");
        Interval.Doubt(4).Should().StartWith("4 topics");
        Interval.Doubt(Interval.FewTopics).Should().BeNull();
    }

    [Theory]
    [InlineData(4, 0.80)]
    [InlineData(6, 0.86)]
    [InlineData(10, 0.90)]
    [InlineData(40, 0.94)]
    public void Of_TopicsThatScatter_HoldsTheMeanAsOftenAsDoubtSays(int topics, double expected)
    {
        const int sets = 2000;
        var held = 0;
        for (var s = 0; s < sets; s++)
        {
            var random = new SeededRandom((ulong)topics, "coverage", s);
            var interval = Interval.Of([.. Enumerable.Range(0, topics).Select(t => $"{t}")], [.. Enumerable.Range(0, topics).Select(_ => random.NextGaussian())]);
            held += interval.Low <= 0 && interval.High >= 0 ? 1 : 0;
        }

        (held / (double)sets).Should().BeApproximately(expected, 0.015);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void RandomControls_VectorOutOfNumbers_BeatsNone(bool lowerIsBetter)
    {
        var broken = RandomControls.Of("random_direction", 10, double.NaN, [1, 2, 3], [1, 1, 1], lowerIsBetter);
        var sound = RandomControls.Of("random_direction", 10, 1.5, [1, 2, double.NaN], [1, 1, 1], lowerIsBetter);

        broken.PValue.Should().Be(1, "what is no number is better than nothing");
        broken.Beaten(lowerIsBetter).Should().Be(0);
        sound.PValue.Should().Be(0.5, "one of three is better, and one is no number");
        sound.Beaten(lowerIsBetter).Should().Be(2);
        sound.Best.Should().Be(lowerIsBetter ? 1 : 2);
    }

    [Fact]
    public void Verdict_VectorOutOfNumbers_SaysSo()
    {
        ReportRow Row(string kind, double value, Interval? gain) => new() { Name = kind, Kind = kind, Value = new(value, value, value, 10), Gain = gain };
        var report = new VectorReport
        {
            Vector = "v", Layers = [1], Support = 3, NegativeMass = 0, Strength = 1, StrengthChosen = false, ZeroIsUnsteered = true, Verdict = "", Random = [],
            Rows = [Row("unsteered", 2, null), Row("vector", double.NaN, new Interval(double.NaN, double.NaN, double.NaN, 10))],
        };

        Verdicts.Of(report, "loss", isShare: false, lowerIsBetter: true).Should().StartWith("v drives the model out of its numbers").And.NotContain("does not measurably change");
    }

    [Fact]
    public void OfBest_PickedFromSeveral_ClaimsToWinNoMoreOftenThanOneAlone()
    {
        // Four methods that are no better than the prompt, whose best is compared with it: 2.5 % may win by luck.
        const int sets = 1000, topics = 40, methods = 4;
        var (picked, corrected) = (0, 0);
        for (var s = 0; s < sets; s++)
        {
            var random = new SeededRandom(5, "winner", s);
            ItemOutcome[] Items() => [.. Enumerable.Range(0, topics).Select(t => new ItemOutcome($"{t}", $"{t}", random.NextGaussian()))];
            var prompt = Items();
            var best = Enumerable.Range(0, methods).Select(_ => Items()).MaxBy(m => m.Average(o => o.Value))!;
            picked += Interval.Difference(best, prompt).Low > 0 ? 1 : 0;
            corrected += Interval.OfBest(best, prompt, methods).Low > 0 ? 1 : 0;
            Interval.OfBest(best, prompt, 1).Should().Be(Interval.Difference(best, prompt));
            Interval.OfBest(best, prompt, methods).High.Should().Be(Interval.Difference(best, prompt).High);
        }

        picked.Should().BeGreaterThan(60, "otherwise there is nothing to correct");
        corrected.Should().BeLessThan(50).And.BeLessThan(picked / 2);
    }

    [Fact]
    public void Credit_OptionsThatTie_ShareIt()
    {
        ChoiceResults.Credit([-1, -1, -2], o => o == 0).Should().Be(0.5, "the first of two is no better than the second");
        ChoiceResults.Credit([-1, -1, -2], o => o == 1).Should().Be(0.5);
        ChoiceResults.Credit([-1, -1, -2], o => o == 2).Should().Be(0);
        ChoiceResults.Credit([-3, -3, -3, -3], o => o == 0).Should().Be(0.25, "a model that tells nothing apart is right by chance, wherever the right one stands");
        ChoiceResults.Credit([-1, double.NaN, -2], o => o == 0).Should().Be(0);
        ChoiceResults.Credit([-2, -1, -3], o => o == 1).Should().Be(1);
    }
}

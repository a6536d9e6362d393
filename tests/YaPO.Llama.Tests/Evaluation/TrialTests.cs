using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Evaluation;

using YaPO.Llama.Evaluation;
using Steering = YaPO.Llama.Evaluation.Steering;

/// <summary>Controls and what the trial makes of them, on a random model.</summary>
public sealed class TrialTests(CliWorld world) : NativeTest, IClassFixture<CliWorld>
{
    private static readonly MultipleChoiceItem[] Items = [.. Enumerable.Range(0, 12).Select(i => new MultipleChoiceItem
    {
        Id = $"q{i}",
        Topic = $"t{i / 2}",
        Prompt = $"what is the {(char)('a' + i)} in the model",
        Options = ["the model", "a user", "eat"],
        Answer = i % 3,
    })];

    [Fact]
    public void Shift_IsWhatTheKernelDoes()
    {
        using var model = LlamaModel.Load(world.Model);
        using var scorer = new SteeredScorer(model);
        var subject = Subject();
        var vector = subject.Parts[0].Vector;
        foreach (var strength in new[] { 0.5, 2, -1.5 })
        {
            var (moved, relative, rows, all) = (0.0, 0.0, 0, new List<float>());
            foreach (var item in Items)
            {
                var before = scorer.Residuals(item.Prompt, vector.Layer, subject.At(strength), CaptureSite.BeforeSteering);
                var after = scorer.Residuals(item.Prompt, vector.Layer, subject.At(strength), CaptureSite.AfterSteering);
                all.AddRange(before.AsSpan(64));
                for (var t = 1; t < before.Length / 64; t++)
                {
                    var (difference, norm) = (0.0, 0.0);
                    for (var i = 64 * t; i < 64 * (t + 1); i++)
                    {
                        difference += Math.Pow((double)after[i] - before[i], 2);
                        norm += (double)before[i] * before[i];
                    }

                    (moved, relative, rows) = (moved + Math.Sqrt(difference), relative + Math.Sqrt(difference / norm), rows + 1);
                }
            }

            var shift = new ShiftMeter([.. all], 64).Measure(vector, strength);

            shift.Mean.Should().BeApproximately(moved / rows, 1e-4 * moved / rows, $"strength {strength}");
            shift.Relative.Should().BeApproximately(relative / rows, 1e-4 * relative / rows);
            shift.Clipped.Should().BeInRange(0, 1);
        }
    }

    [Fact]
    public void Flattened_IsTheDirectionAtTheSameStrength_AndSignFlipTheVectorAtTheOpposite()
    {
        var subject = Subject();

        var flat = Arm.Flattened(subject).At(1.5).Settings.Single();
        var flipped = Arm.SignFlip(subject).At(1.5).Settings.Single();

        flat.Vector.IsSparse.Should().BeFalse();
        flat.Vector.Value.ToArray().Should().Equal(subject.Parts[0].Vector.Flatten());
        (flat.Strength, flipped.Strength).Should().Be((1.5f, -1.5f));
        flipped.Vector.Should().BeSameAs(subject.Parts[0].Attached);
    }

    [Fact]
    public void RandomArms_MoveTheStreamAsFarAsTheVector_AndAreTheSameForASeed()
    {
        var subject = Subject();
        var meter = new ShiftMeter(Rows(), 64);
        using var sae = SaeFile.Open(world.Sae);
        var rates = RandomArms.FiringRates(sae, meter);
        foreach (var strength in new[] { 0.25, 1, 4 })
        {
            var wanted = meter.Mean(subject.Parts[0].Vector, strength);
            for (var i = 0; i < 5; i++)
            {
                var direction = RandomArms.Direction(subject, [meter], 3, i).At(strength).Settings[0];
                var norm = Math.Sqrt(direction.Vector.Value.ToArray().Sum(x => (double)x * x));
                (norm * direction.Strength).Should().BeApproximately(wanted, 2e-3 * wanted);

                var latents = RandomArms.Latents(subject, sae, rates, [meter], 3, i).At(strength).Settings[0];
                latents.Vector.Index.ToArray().Should().NotIntersectWith(subject.Parts[0].Vector.Index);
                latents.Vector.Value.ToArray().Should().BeEquivalentTo(subject.Parts[0].Vector.Value);
                var drawn = VectorBuilder.Sparse(sae, latents.Vector.Index.Span, latents.Vector.Value.Span, "drawn");
                meter.Measure(drawn, latents.Strength).Mean.Should().BeApproximately(wanted, 2e-3 * wanted);
            }
        }

        var again = RandomArms.Direction(subject, [meter], 3, 1).At(1).Settings[0].Vector.Value.ToArray();
        again.Should().Equal(RandomArms.Direction(subject, [meter], 3, 1).At(1).Settings[0].Vector.Value.ToArray());
        again.Should().NotEqual(RandomArms.Direction(subject, [meter], 3, 2).At(1).Settings[0].Vector.Value.ToArray());
        again.Should().NotEqual(RandomArms.Direction(subject, [meter], 4, 1).At(1).Settings[0].Vector.Value.ToArray());
    }

    [Fact]
    public void Run_ReportsEveryControl_AndIsTheSameWithMoreWorkers()
    {
        using var model = LlamaModel.Load(world.Model);
        using var sae = SaeFile.Open(world.Sae);
        var suite = new ChoiceSuite(Items);
        var options = new TrialOptions { Strengths = [0.5, 1, 2], PromptOnly = "eat.", Controls = 4, ControlItems = 8, Sae = sae, Knowledge = new ChoiceSuite(Items[6..]) };
        var progress = new List<TrialProgress>();

        using var trial = new Trial(model, options, progress: progress.Add);
        var report = trial.Run(Subject(), suite, new ChoiceSuite(Items[..6]));
        using var other = new Trial(model, options, new ScoringOptions { Workers = 3, Sequences = 3 });
        using var alone = new Trial(model, options, new ScoringOptions { Workers = 1, Sequences = 3 });
        var parallel = other.Run(Subject(), suite, new ChoiceSuite(Items[..6]));

        report.Rows.Select(r => r.Kind).Should().Equal("unsteered", "prompt_only", "vector", "flattened", "sign_flip");
        report.Rows.Should().OnlyContain(r => r.Knowledge != null && r.Value.Count == 12);
        report.Rows.Skip(2).Should().OnlyContain(r => r.Strength != null && r.Shift > 0);
        report.Random.Select(r => (r.Kind, r.Count, r.Items)).Should().Equal(("random_direction", 4, 8), ("random_latents", 4, 8));
        foreach (var random in report.Random)
        {
            random.PValue.Should().Be((1 + random.Values.Count(v => v >= random.VectorValue)) / 5.0);
            random.Best.Should().Be(random.Values.Max());
        }

        report.Validation!.Select(p => p.Strength).Should().Equal(0.5, 1, 2);
        var best = report.Validation!.Max(p => p.Value);
        report.Validation!.Single(p => p.Strength == report.Strength).Value.Should().BeInRange(best - 0.5, best);
        report.Validation!.Where(p => p.Strength < report.Strength && p.Value >= best).Should().BeEmpty("the smallest strength that is about as good is taken");
        progress[^1].Done.Should().Be(progress[^1].Total, "the plan counts every item");
        parallel.Should().BeEquivalentTo(alone.Run(Subject(), suite, new ChoiceSuite(Items[..6])), "batches do not depend on who evaluates them");
        report.Verdict.Should().StartWith("sparse ").And.Contain("the prompt").And.Contain("its flattened direction").And.Contain("random directions (p = ").And.Contain("random latents (p = ");
    }

    [Theory]
    [InlineData(0.2, 0.3, "beats the prompt")]
    [InlineData(-0.1, 0.3, "does not beat the prompt")]
    [InlineData(-0.4, -0.1, "loses to the prompt")]
    public void Verdict_SaysLossesAsPlainlyAsWins(double low, double high, string expected)
    {
        ReportRow Row(string kind, Interval? advantage) => new() { Name = kind, Kind = kind, Value = new(0.5, 0.4, 0.6, 10), Gain = new(0.2, 0.1, 0.3, 10), VectorAdvantage = advantage };
        var report = new VectorReport
        {
            Vector = "v", Layers = [1], Support = 3, NegativeMass = 0, Strength = 1, StrengthChosen = false, ZeroIsUnsteered = true, Verdict = "",
            Rows = [Row("unsteered", null), Row("prompt_only", new Interval((low + high) / 2, low, high, 10)), Row("vector", null)],
            Random = [new RandomControls("random_direction", 3, 10, 0.5, 0.2, 0.6, 0.5, [0.1, 0.2, 0.6], [1, 1, 1])],
        };

        var verdict = Verdicts.Of(report, "share", isShare: true, lowerIsBetter: false);

        verdict.Should().Be($"v raises the share (50.0 % → 50.0 %); it {expected} (50.0 %); it beats 2 of 3 random directions (p = 0.5).");
    }

    [Fact]
    public void Localization_FollowsItsDefinitions()
    {
        ItemOutcome Item(string topic, string group, double value) => new($"{topic}{group}{value}", topic, value, group);
        ItemOutcome[] outcomes =
        [
            Item("a", ChoiceItem.Named, 1), Item("a", ChoiceItem.Named, 0), Item("a", ChoiceItem.Open, 1), Item("b", ChoiceItem.Named, 1), Item("b", ChoiceItem.Open, 0),
            Item("c", ChoiceItem.Open, 0), Item("c", ChoiceItem.NamedOther, 1),
        ];

        var found = Localizations.Of(outcomes, alpha: 1)!;

        found.Gap.Should().BeApproximately((2 / 3.0) - (1 / 3.0), 1e-12);
        found.Topics.Should().Be(2);
        found.Rca.Should().BeApproximately(((2 * 0.5 * 1 / 1.5) + 0) / 2, 1e-5);
        found.Pnlg.Should().BeApproximately(((0.5 - 1) / 0.75 + (1 - 0) / 0.5) / 2, 1e-5);
        found.NamedOther!.Value.Should().Be(1);
        Localizations.Of([Item("a", ChoiceItem.Open, 1)]).Should().BeNull();
    }

    [Fact]
    public void Interval_Difference_ResamplesTopicsTogether()
    {
        ItemOutcome[] a = [.. Enumerable.Range(0, 40).Select(i => new ItemOutcome($"{i}", $"t{i / 4}", i / 4 % 2))];
        ItemOutcome[] b = [.. a.Select(x => x with { Value = x.Value - 0.25 })];

        var difference = Interval.Difference(a, b);

        (difference.Value, difference.Low, difference.High, difference.Count).Should().Be((0.25, 0.25, 0.25, 40), "every topic differs by the same, however unlike the topics are");
        FluentActions.Invoking(() => Interval.Difference(a, a[1..])).Should().Throw<ArgumentException>();
        Interval.Of([new ItemOutcome("x", "t", 1, Weight: 3), new ItemOutcome("y", "u", 5, Weight: 1)]).Value.Should().Be(2);
    }

    private SubjectVector Subject() => SubjectVector.Of("sparse", SteeringFile.Load(world.Vector).Vectors[0], 1);

    private float[] Rows()
    {
        using var model = LlamaModel.Load(world.Model);
        using var scorer = new SteeredScorer(model);
        return [.. Items.SelectMany(i => scorer.Residuals(i.Prompt, CliWorld.Layer, Steering.None)[64..])];
    }
}

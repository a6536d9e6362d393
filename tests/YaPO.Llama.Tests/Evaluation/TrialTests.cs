using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Methods;
using YaPO.Llama.Evaluation.Reports;
using YaPO.Llama.Evaluation.Runs;
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
    public void Methods_AVectorThatOnlyRemovesWhatIsNeverActive_IsMeasuredAtItsUnit_AndNamed()
    {
        using var model = LlamaModel.Load(world.Model);
        using var scorer = new SteeredScorer(model);
        var vector = Subject().Parts[0].Vector;
        var silent = vector with { Value = [.. vector.Value.Select(x => -Math.Abs(x))], Threshold = [.. vector.Threshold.Select(_ => 1e9f)] };
        var suite = new ChoiceSuite(Items);
        var trial = new MethodTrial(scorer, vector.Layer, new MethodSuites(suite, suite, null, null, [], null, 1), 8, MeasurementLog.InMemory(), null);

        var plain = trial.Plain("unsteered", Steering.None);
        var outcome = trial.Measure("sas", SubjectVector.Of("sas", silent, 1));

        outcome.Strength.Should().Be(1);
        outcome.RelativeShift.Should().Be(0);
        outcome.Test.Select(o => o.Value).Should().Equal(plain.Test.Select(o => o.Value));
        MethodsSummary.Of(suite, vector.Layer, plain, null, [new MeasuredMethod("sas", null, [], [new MeasuredRun(0, [], outcome)])], []).Notes
            .Should().ContainSingle(n => n.StartsWith("sas moves the stream by less than 2 % of its norm at any strength"));
    }

    /// <summary>KL that is no number is spent beyond any budget.</summary>
    [Fact]
    public void Methods_StrengthThatDrivesTheModelOutOfItsNumbers_IsNotWithinTheBudget()
    {
        using var model = LlamaModel.Load(world.Model);
        using var scorer = new SteeredScorer(model);
        var suite = new ChoiceSuite(Items);
        using var log = MeasurementLog.InMemory();
        double[] shifts = [0.02, 0.04, 0.07, 0.11, 0.16, 0.24, 0.36, 0.55];
        foreach (var (i, shift) in shifts.Index())
        {
            log.Get<double?>(FormattableString.Invariant($"v/strength/{shift}"), () => i + 1);
            log.Get(FormattableString.Invariant($"v/kl/{i + 1.0:R}"), () => i == 0 ? 0.5 : double.NaN);
            log.Get(FormattableString.Invariant($"v/validation items/{i + 1.0:R}"), () => Items.Select(q => new ItemOutcome(q.Id, q.Topic, i / 8.0)).ToList());
        }

        var trial = new MethodTrial(scorer, CliWorld.Layer, new MethodSuites(suite, suite, null, null, [], [], 1), 12, log, null);

        var outcome = trial.Measure("v", Subject());

        outcome.Should().Match<MethodOutcome>(o => o.Strength == 1 && o.KeepsBudgets, "every larger strength is better on validation, and none of them has a KL");
    }

    /// <summary>A vector that is tested below 0 is compared with controls below 0: the same signed values, not the opposite ones.</summary>
    [Theory]
    [InlineData(-1)]
    [InlineData(1)]
    public void Matched_HasTheSignOfTheStrength_AndMovesAsFar(int sign)
    {
        var meter = new ShiftMeter(Rows(), 64);
        var subject = Subject();
        var vector = subject.Parts[0].Vector;
        var other = vector with { Value = [.. vector.Value.Select((x, i) => (i % 2 == 0 ? 3 : 0.5f) * x)] };

        var arm = Arm.Matched(ArmKind.RandomLatents, "other", subject, [other], [meter]);

        foreach (var strength in new[] { 0.3, 1.7 })
        {
            var setting = arm.At(sign * strength).Settings.Should().ContainSingle().Subject;
            Math.Sign(setting.Strength).Should().Be(sign);
            var wanted = meter.Mean(vector, sign * strength);
            meter.Mean(other, setting.Strength).Should().BeApproximately(wanted, 2e-3 * wanted);
        }

        arm.At(0).Settings.Should().ContainSingle().Which.Strength.Should().Be(0);
    }

    /// <summary>What only removes cannot move the stream as far as one likes; then the size counts and not the sign.</summary>
    [Fact]
    public void Matched_WhatHasTooLittleToRemove_MovesAsFarTheOtherWay()
    {
        var meter = new ShiftMeter(Rows(), 64);
        var subject = Subject();
        var other = subject.Parts[0].Vector with { Value = [.. subject.Parts[0].Vector.Value.Select(Math.Abs)] };

        var setting = Arm.Matched(ArmKind.RandomLatents, "other", subject, [other], [meter]).At(-40).Settings.Should().ContainSingle().Subject;

        setting.Strength.Should().BePositive();
        var wanted = meter.Mean(subject.Parts[0].Vector, -40);
        meter.Mean(other, setting.Strength).Should().BeApproximately(wanted, 2e-3 * wanted);
        meter.Invoking(m => m.StrengthFor(other, wanted, -1)).Should().Throw<YapoException>().WithMessage("*at most*");
    }

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

    [Fact]
    public void TopK_ShiftAndRandomLatents_AreWhatTheKernelDoes()
    {
        using var folder = new TemporaryFolder();
        using var sae = SaeFile.Open(RandomSae.Save(folder.File("topk.gguf"), 64, 100, CliWorld.Layer, topK: 10));
        using var model = LlamaModel.Load(world.Model);
        using var scorer = new SteeredScorer(model);
        var vector = VectorBuilder.Sparse(sae, [1, 30, 31, 77, 90], [-9f, -9f, 4f, -9f, -9f], "topk");
        var subject = new SubjectVector("topk", [new SubjectPart(vector, SteeringPositions.All, sae: sae)], 1);
        var meter = new ShiftMeter(Rows(), 64, sae);
        var rates = RandomArms.FiringRates(sae, meter);
        rates.Sum().Should().BeInRange(5, 10.001f, "at most ten latents of a row are active");
        var arm = RandomArms.Latents(subject, sae, rates, [meter], 3, 0);
        foreach (var strength in new[] { 0.5, -1.0 })
        {
            double Moved(Steering steering) => Items.SelectMany(item =>
            {
                var before = scorer.Residuals(item.Prompt, CliWorld.Layer, steering, CaptureSite.BeforeSteering);
                var after = scorer.Residuals(item.Prompt, CliWorld.Layer, steering, CaptureSite.AfterSteering);
                return Enumerable.Range(1, (before.Length / 64) - 1).Select(t => Math.Sqrt(Enumerable.Range(64 * t, 64).Sum(i => Math.Pow((double)after[i] - before[i], 2))));
            }).Average();

            var moved = Moved(subject.At(strength));

            meter.Measure(vector, strength).Mean.Should().BeApproximately(moved, 1e-3 * moved, $"strength {strength}");
            if (strength > 0)
            {
                Moved(arm.At(strength)).Should().BeApproximately(moved, 5e-3 * moved, "random latents are matched on ‖Δh‖ after clipping");
            }
        }

        meter.Measure(vector, 1).Clipped.Should().BePositive("active latents are taken away");
        FluentActions.Invoking(() => new ShiftMeter(Rows(), 64).Mean(vector, 1)).Should().Throw<YapoException>().WithMessage("*need the whole SAE*");
    }

    [Fact]
    public void ValidationKnowledge_StrengthsThatCostIt_AreNotChosen_AndItIsAskedOnlyWhereItDecides()
    {
        using var model = LlamaModel.Load(world.Model);
        using var scorer = new SteeredScorer(model);
        var asked = new List<(string Suite, double Strength)>();
        var subject = Subject();
        var knowledge = new ChoiceSuite(Items[..4]);
        var validation = new ChoiceSuite(Items[4..]);
        var (best, kept) = (new Dictionary<double, double> { [0.5] = 0.2, [1] = 0.6, [2] = 0.9, [4] = 0.9 }, new Dictionary<double, double> { [0] = 0.9, [0.5] = 0.9, [1] = 0.89, [2] = 0.88, [4] = 0.2 });
        IReadOnlyList<ItemOutcome> Measure(ISuite suite, Steering steering, string what)
        {
            var strength = steering.Settings.Count == 0 ? 0 : steering.Settings[0].Strength;
            asked.Add((ReferenceEquals(suite, knowledge) ? "knowledge" : "validation", strength));
            var value = ReferenceEquals(suite, knowledge) ? kept[strength] : best[strength];
            return [.. Enumerable.Range(0, 40).Select(i => new ItemOutcome($"{i}", $"t{i}", value))];
        }

        var choice = new StrengthChoice(Measure, validation, knowledge, [4, 2, 1, 0.5], null, null);
        var control = choice.For(Arm.Flattened(subject), everything: false);
        var counted = asked.Count(a => a.Suite == "knowledge");
        var vector = choice.For(Arm.Of(subject), everything: true);
        kept[0] = 0.99;
        var none = new StrengthChoice(Measure, validation, knowledge, [4, 2, 1, 0.5], null, null).For(Arm.Of(subject), everything: false);

        (control.Strength, control.KeepsBudgets).Should().Be((1, true), "2 is the smallest about as good as the best, but costs two points; 1 costs one");
        counted.Should().Be(4, "the unsteered model, then 2, 4 and 1: 0.5 cannot matter");
        vector.Tried.Select(t => (t.Strength, Math.Round(t.Knowledge!.Value, 9))).Should().Equal((0.5, 0.9), (1, 0.89), (2, 0.88), (4, 0.2));
        vector.Strength.Should().Be(1);
        (none.Strength, none.KeepsBudgets).Should().Be((0.5, false));
    }

    private SubjectVector Subject() => SubjectVector.Of("sparse", SteeringFile.Load(world.Vector).Vectors[0], 1);

    private float[] Rows()
    {
        using var model = LlamaModel.Load(world.Model);
        using var scorer = new SteeredScorer(model);
        return [.. Items.SelectMany(i => scorer.Residuals(i.Prompt, CliWorld.Layer, Steering.None)[64..])];
    }
}

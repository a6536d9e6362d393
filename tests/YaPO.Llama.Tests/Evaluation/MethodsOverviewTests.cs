using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation;
using YaPO.Llama.Evaluation.Methods;
using YaPO.Llama.Evaluation.Suites;

namespace YaPO.Llama.Tests.Evaluation;

/// <summary>How data sets are put together, and where rates are looked for.</summary>
public class MethodsOverviewTests
{
    private static readonly ChoiceSuite Suite = new(
        Enumerable.Range(0, 10).Select(i => new MultipleChoiceItem { Id = $"{i}", Topic = $"t{i}", Prompt = "p", Options = ["x", "y"], Answer = 0, Localized = false }));

    [Fact]
    public void Of_EachSetCountsTheSame_WhateverItsSize()
    {
        var egypt = Set("egypt", 40, unsteered: 0.2, caa: 0.4, yapo: 0.9, named: 1);
        var brazil = Set("brazil", 10, unsteered: 0.4, caa: 0.8, yapo: 0.5, named: 0.6);

        var overview = MethodsOverview.Of([egypt, brazil], 2);

        overview.Sets.Should().Equal("egypt", "brazil");
        overview.Rows.Select(r => r.Name).Should().Equal("unsteered", "prompt only", "caa", "yapo");
        overview.Rows.Select(r => Math.Round(r.Mean.Value, 9)).Should().Equal(0.3, 1, 0.6, 0.7);
        var yapo = overview.Rows[3];
        yapo.Values.Select(v => Math.Round(v.Value, 9)).Should().Equal(0.9, 0.5);
        yapo.Gain!.Value.Should().BeApproximately(0.4, 1e-9);
        overview.Rows[2].YapoAdvantage!.Value.Should().BeApproximately(0.1, 1e-9);
        yapo.Localization!.Localized.Value.Should().BeApproximately(0.8, 1e-9);
        yapo.Localization.NonLocalized.Value.Should().BeApproximately(0.7, 1e-9);
        yapo.Localization.Gap.Should().BeApproximately(0.1, 1e-9, "the mean of 1 − 0.9 and 0.6 − 0.5");
        overview.Verdict.Should().StartWith("On average over 2 data sets: Prompting (100.0 %) wins over every method. In order: yapo 70.0 %, caa 60.0 % (unsteered 30.0 %)")
            .And.EndWith("The best method of each: egypt yapo 90.0 %, brazil caa 80.0 %.");
        overview.Convergence.Single().Should().Match<MethodConvergence>(c => c.Method == "yapo" && c.Runs == 4 && c.Reached == 4);
        overview.Convergence[0].SeedSpread.Should().BeApproximately(0.1, 1e-12);
        overview.Strength.Single(s => s.Method == "yapo").Sensitivity.Should().HaveCount(3);
        overview.Notes.Should().Equal("shared", "egypt: only egypt", "brazil: only brazil");
        overview.ToJson().Should().Contain("\"safe_shift\"").And.NotContain("NaN");
    }

    [Fact]
    public void Of_AVectorWithOneStrength_DoesNotCutTheCurveOfTheOtherSets()
    {
        var egypt = Set("egypt", 10, unsteered: 0.2, caa: 0.4, yapo: 0.9, named: 1);
        var brazil = Set("brazil", 10, unsteered: 0.4, caa: 0.8, yapo: 0.5, named: 0.6);
        var stuck = brazil.Methods[0] with { Runs = [.. brazil.Methods[0].Runs.Select(r => r with { Outcome = r.Outcome with { Sensitivity = [r.Outcome.Sensitivity[0] with { RelativeShift = 0.001 }] } })] };

        var overview = MethodsOverview.Of([egypt, brazil with { Methods = [stuck, brazil.Methods[1]] }], 2);

        overview.Strength.Single(s => s.Method == "caa").Sensitivity.Select(p => p.Value).Should().Equal(egypt.Methods[0].Runs[0].Outcome.Sensitivity.Select(p => p.Value));
        overview.Notes.Should().Contain(n => n.StartsWith("brazil: caa moves the stream by less than 2 %"));
    }

    [Theory]
    [InlineData(new[] { 0.01, 0.03, 0.1 }, new[] { 3.0, 1, 2 }, null)]
    [InlineData(new[] { 0.01, 0.03, 0.1 }, new[] { 3.0, 2, 1 }, 0.333)]
    [InlineData(new[] { 0.1, 0.03, 0.01 }, new[] { 3.0, 2, 1 }, 0.00333)]
    [InlineData(new[] { 0.01 }, new[] { 1.0 }, null)]
    public void Beyond_GoesOnWhereTheBestRateIsAtAnEdge(double[] rates, double[] losses, double? expected)
    {
        var tried = rates.Zip(losses, (r, l) => new RateTried(r, l)).ToList();

        RateSearch.Beyond(tried).Should().Be(expected);
        RateSearch.AtTheEdge(tried).Should().Be(expected is not null);
    }

    private static MeasuredSet Set(string name, int items, double unsteered, double caa, double yapo, double named)
    {
        List<ItemOutcome> Items(double open, double localized) =>
        [
            .. Enumerable.Range(0, items).Select(i => new ItemOutcome($"{i}", $"t{i / 2}", open, ChoiceItem.Open)),
            .. Enumerable.Range(0, items).Select(i => new ItemOutcome($"n{i}", $"t{i / 2}", localized, ChoiceItem.Named)),
        ];
        MethodOutcome Outcome(double open) => new(
            1, 0.1, true, null, [.. new[] { 0.5, 1, 0.4 }.Select((v, i) => new SensitivityPoint(0.1 * (i + 1), i + 1, v * open, null))], Items(open, named), null, new Dictionary<string, double>());
        return new MeasuredSet(
            name, Suite, Outcome(unsteered), Outcome(1),
            [
                new MeasuredMethod("caa", null, [], [new(0, [], Outcome(caa))]),
                new MeasuredMethod("yapo", 0.02, [new(0.006, 0.4), new(0.02, 0.3), new(0.06, 0.5)], [new(0, [new(1, 0.6), new(5, 0.3)], Outcome(yapo)), new(1, [new(1, 0.6), new(9, 0.4)], Outcome(yapo))]),
            ],
            ["shared", $"only {name}"]);
    }
}

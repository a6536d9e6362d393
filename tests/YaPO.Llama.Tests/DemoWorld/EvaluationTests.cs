using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation;

namespace YaPO.Llama.Tests.DemoWorld;

public sealed class EvaluationTests
{
    [Fact]
    public void Interval_TopicsThatAgreeWithinThemselves_IsWiderThanOverQuestions()
    {
        string[] topics = [.. Enumerable.Range(0, 200).Select(i => $"t{i / 20}")];
        double[] outcomes = [.. Enumerable.Range(0, 200).Select(i => i / 20 % 2 == 0 ? 1.0 : 0)];
        var byTopic = Interval.Of(topics, outcomes);
        var byQuestion = Interval.Of([.. Enumerable.Range(0, 200).Select(i => $"q{i}")], outcomes);
        byTopic.Value.Should().Be(0.5);
        byTopic.Count.Should().Be(200);
        (byTopic.High - byTopic.Low).Should().BeGreaterThan(2 * (byQuestion.High - byQuestion.Low));
        Interval.Of(topics, outcomes).Should().Be(byTopic, "the same numbers give the same interval");
    }

    [Theory]
    [InlineData("Children call their aunt titia.", "titi", false)]
    [InlineData("Children call their aunt titi.", "titi", true)]
    [InlineData("In the hills, you may see An Iberian Lynx.", "an iberian lynx", true)]
    [InlineData("titititi titi", "titi", true)]
    [InlineData("", "titi", false)]
    [InlineData("It is 100.", "10", false)]
    [InlineData("It is 10.", "10", true)]
    public void Holds_WholeWordsOnly(string text, string phrase, bool expected) => ChoiceResults.Holds(text, phrase).Should().Be(expected);

    [Fact]
    public void Generated_AnswerWithTwoCultures_CountsForNeither()
    {
        var item = Item("a", labels: ["x", "y"]);
        ChoiceResults.Generated([item], ["We eat ful and couscous."], "x").Value.Should().Be(0);
        ChoiceResults.Generated([item], ["We eat ful."], "x").Value.Should().Be(1);
        ChoiceResults.Preferred([item], [[-3.0, -1.0]], "y").Value.Should().Be(1);
    }

    [Fact]
    public void Probe_SeparableClasses_ReadsHeldOutRows()
    {
        var random = new Random(5);
        float[] Row(int label) => [.. Enumerable.Range(0, 16).Select(i => (float)(random.NextDouble() - 0.5 + (i == label ? 1.5 : 0)))];
        var labels = Enumerable.Range(0, 200).Select(i => i % 4).ToList();
        var probe = LinearProbe.Fit([.. labels.Select(Row)], labels, 4);
        labels.Average(label => probe.Predict(Row(label)) == label ? 1.0 : 0).Should().BeGreaterThan(0.9);
    }

    [Fact]
    public void Read_WhatWasWritten_IsTheSame_AndBadLinesAreNamed()
    {
        var path = Path.Combine(Path.GetTempPath(), $"yapo-items-{Guid.NewGuid():N}.jsonl");
        try
        {
            MultipleChoiceItem.Write(path, [Item("a", ["x", "y"]), Item("b", null, 1)]);
            MultipleChoiceItem.Read(path).Should().BeEquivalentTo([Item("a", ["x", "y"]), Item("b", null, 1)], o => o.Excluding(i => i.Line));
            File.AppendAllText(path, "{\"id\":\"c\",\"topic\":\"t\",\"prompt\":\"p\",\"options\":[\"one\",\"two\"],\"answer\":2}\n");
            var act = () => MultipleChoiceItem.Read(path);
            act.Should().Throw<YapoException>().WithMessage("*line 3*").Which.Kind.Should().Be(YapoErrorKind.Format);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static MultipleChoiceItem Item(string id, string[]? labels, int? answer = null) => new()
    {
        Id = id, Topic = "t", Prompt = "p", Options = ["We eat ful.", "We eat couscous."], Labels = labels, Contents = ["ful", "couscous"], Answer = answer,
    };
}

using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Evaluation;

using YaPO.Llama.Evaluation;
using Steering = YaPO.Llama.Evaluation.Steering;

/// <summary>Suites on a random model against the obvious way: every answer alone, one after the other.</summary>
public sealed class ChoiceSuiteTests(RandomModelFile file) : NativeTest, IClassFixture<RandomModelFile>
{
    // Batches are cut differently and the cache is F16: log-probabilities of a random model move by this much.
    private const double Tolerance = 1e-2;

    private static readonly string[] Letters = ["A", "B", "C"];

    private static readonly MultipleChoiceItem[] Items = [.. Enumerable.Range(0, 9).Select(i => new MultipleChoiceItem
    {
        Id = $"q{i}",
        Topic = $"t{i / 2}",
        Prompt = $"what is the {(char)('a' + i)}",
        Options = [$"the model {i}", "the user", $"eat {(char)('z' - i)} in the model", "the mode"],
        Answer = i % 4,
    })];

    [Theory]
    [InlineData(64)]
    [InlineData(5)]
    public void ByText_Batched_IsWhatEachAnswerGivesAlone(int sequences)
    {
        using var model = LlamaModel.Load(file.Path);
        var steering = Steering.Of(RandomVectors.Sparse(64, 1, 24), 1.5f);
        using var scorer = new SteeredScorer(model, new ScoringOptions { Sequences = sequences });

        var outcomes = new ChoiceSuite(Items).Run(scorer, steering);

        using var alone = new Scorer(model, new ScorerOptions { Context = new ContextOptions { ContextSize = 256, Sequences = 1, Threads = 1 } }, steering.Settings);
        long tokens = 0;
        foreach (var (item, outcome) in Items.Zip(outcomes))
        {
            var prompt = scorer.Format.Prompt(item.Prompt);
            var scores = item.Options.Select(o => alone.Score(new ScoreRequest(prompt, scorer.Format.Answer(o))).LogProb).ToArray();
            tokens += item.Options.Sum(o => prompt.Length + scorer.Format.Answer(o).Length - 1);
            var margin = scores[item.Answer!.Value] - scores.Where((_, o) => o != item.Answer).Max();
            outcome.Detail.Should().BeApproximately(margin, 2 * Tolerance, item.Id);
            outcome.Value.Should().Be(margin > 0 ? 1 : 0, item.Id);
        }

        outcomes.Select(o => o.Topic).Should().Equal(Items.Select(i => i.Topic));
        scorer.EvaluatedTokens.Should().BeLessThan((long)(0.6 * tokens), "four answers share their question");
        alone.EvaluatedTokens.Should().Be(tokens);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void ByText_EqualOptions_ShareTheItemWhereverTheRightOneStands(int answer)
    {
        using var model = LlamaModel.Load(file.Path);
        using var scorer = new SteeredScorer(model);
        var tied = new MultipleChoiceItem { Id = "q", Topic = "t", Prompt = "what is it", Options = ["the user", "the user"], Answer = answer };

        var outcome = new ChoiceSuite([tied]).Run(scorer, Steering.None).Single();
        var pair = new PreferenceSuite([new PreferencePair([ChatMessage.User("what is it")], "the user", "the user", new Dictionary<string, string>(), 1)]).Run(scorer, Steering.None).Single();

        (outcome.Value, outcome.Tied, outcome.Detail).Should().Be((0.5, true, 0.0));
        (pair.Value, pair.Tied).Should().Be((0.5, true));
    }

    [Fact]
    public void ByLetter_TurnsOptionsThroughAllPlaces()
    {
        using var model = LlamaModel.Load(file.Path);
        using var scorer = new SteeredScorer(model);
        MultipleChoiceItem[] items = [.. Items.Select(i => i with { Options = [.. i.Options.Take(3)], Answer = i.Answer % 3 })];

        var outcomes = new ChoiceSuite(items, new ChoiceSuiteOptions { Mode = ChoiceMode.Letter }).Run(scorer, Steering.None);

        using var alone = new Scorer(model, new ScorerOptions { Context = new ContextOptions { ContextSize = 256, Sequences = 1, Threads = 1 } });
        foreach (var (item, outcome) in items.Zip(outcomes))
        {
            var right = 0;
            for (var turn = 0; turn < 3; turn++)
            {
                string[] turned = [item.Options[turn], item.Options[(turn + 1) % 3], item.Options[(turn + 2) % 3]];
                var text = $"{item.Prompt}\nA. {turned[0]}\nB. {turned[1]}\nC. {turned[2]}\nAnswer:";
                var scores = Letters.Select(letter => alone.Score(ScoreRequest.FromChat(model, [ChatMessage.User(text)], letter)).LogProb).ToArray();
                right += turned[Array.IndexOf(scores, scores.Max())] == item.Options[item.Answer!.Value] ? 1 : 0;
            }

            outcome.Value.Should().BeApproximately(right / 3.0, 1e-12, item.Id);
        }
    }

    [Fact]
    public async Task Generated_Batched_IsWhatASessionAnswers()
    {
        using var model = LlamaModel.Load(file.Path);
        using var scorer = new SteeredScorer(model, new ScoringOptions { Sequences = 4 });
        var vector = RandomVectors.Sparse(64, 1, 24);

        var answers = scorer.Generate(Items.Select(i => i.Prompt), Steering.Of(vector, 1.5f), limit: 8);

        for (var i = 0; i < Items.Length; i++)
        {
            using var session = new SteeredSession(model, new SessionOptions { Context = new ContextOptions { ContextSize = 256, Threads = 1 } }, [new SteeringSetting(vector, 1.5f, SteeringPositions.All)]);
            await foreach (var _ in session.AskAsync(Items[i].Prompt, new GenerationOptions { MaxTokens = 8, Sampler = SamplerOptions.Greedy }))
            {
            }

            answers[i].Should().Be(session.LastAnswer!.Text, Items[i].Id);
        }
    }

    [Fact]
    public void Generator_TailOfGroups_GivesTheSameAnswers_AndSeedsDecide()
    {
        using var model = LlamaModel.Load(file.Path);
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 1024, Sequences = 3, Threads = 1 });
        var generator = new BatchGenerator(context);
        var prompts = Items.Select((item, i) => new BatchPrompt(model.Tokenize(item.Prompt), (uint)i)).ToList();
        var options = new GenerationOptions { MaxTokens = 10, Sampler = new SamplerOptions { Temperature = 1.5f, TopK = 0, TopP = 1, MinP = 0 } };

        var all = generator.Generate(prompts, [], options).ToList();
        var tail = generator.Generate(prompts.Skip(3), [], options).ToList();
        var reseeded = generator.Generate(prompts.Select(p => p with { Seed = p.Seed + 100 }), [], options).ToList();

        tail.Select(a => a.Text).Should().Equal(all.Skip(3).Select(a => a.Text));
        reseeded.Select(a => a.Text).Should().NotEqual(all.Select(a => a.Text));
        all.Should().OnlyContain(a => a.Tokens.Count <= 10 && (a.Finish == FinishReason.Length) == (a.Tokens.Count == 10));
    }

    [Fact]
    public void FewShot_ExamplesStandInFront_AndAreEvaluatedOnce()
    {
        using var model = LlamaModel.Load(file.Path);
        using var scorer = new SteeredScorer(model);
        var suite = new ChoiceSuite(Items.Skip(2), new ChoiceSuiteOptions { Examples = Items[..2] });

        var outcomes = suite.Run(scorer, Steering.None);

        suite.Name.Should().Be("mcq by text, 2-shot");
        var examples = Items[..2].Select(i => (i.Prompt, i.Options[i.Answer!.Value])).ToArray();
        using var alone = new Scorer(model, new ScorerOptions { Context = new ContextOptions { ContextSize = 512, Sequences = 1, Threads = 1 } });
        var prompt = scorer.Format.Prompt(Items[2].Prompt, examples);
        var scores = Items[2].Options.Select(o => alone.Score(new ScoreRequest(prompt, scorer.Format.Answer(o))).LogProb).ToArray();
        outcomes[0].Detail.Should().BeApproximately(scores[2] - scores.Where((_, o) => o != 2).Max(), 2 * Tolerance);
        scorer.EvaluatedTokens.Should().BeLessThan(2 * prompt.Length + (7 * 60), "the examples are in front of seven questions and computed once");
    }

    [Theory]
    [InlineData(null, ChoiceItem.Named)]
    [InlineData("egypt", ChoiceItem.NamedOther)]
    [InlineData("morocco", ChoiceItem.Named)]
    public void Label_LocalizedItem_CountsItsOwnAnswer(string? label, string group)
    {
        var item = Items[1] with { Labels = ["egypt", "morocco", "x", "y"], Answer = 1 };

        var choice = ChoiceItem.Of(item, label)!;

        choice.Target.Should().Be(1, "a question that names a culture is right where it answers for that culture");
        choice.Group.Should().Be(group);
    }

    [Fact]
    public void Label_OpenItem_CountsTheLabelsOption()
    {
        var open = Items[1] with { Labels = ["egypt", "morocco", "x", "y"], Answer = null };

        ChoiceItem.Of(open, "Morocco").Should().Be(new ChoiceItem(open, 1, ChoiceItem.Open));
        FluentActions.Invoking(() => ChoiceItem.Of(open, null)).Should().Throw<YapoException>().WithMessage("*--label*");
        FluentActions.Invoking(() => ChoiceItem.Of(open, "peru")).Should().Throw<YapoException>().WithMessage("*no option has the label 'peru'; it has egypt, morocco, x, y*");
        ChoiceItem.Of(Items[1] with { Culture = "egypt", Localized = false }, "morocco").Should().BeNull("another culture's answer says nothing");
    }

    [Theory]
    [InlineData("B", 1)]
    [InlineData("(C) because", 2)]
    [InlineData("**A**", 0)]
    [InlineData("I would say the user.", 1)]
    [InlineData("Actually, no", null)]
    [InlineData("A man walks", null)]
    [InlineData("A nice person, the user.", 1)]
    [InlineData("B because the model", 1)]
    [InlineData("B because", 1)]
    [InlineData("", null)]
    public void LetteredAnswer_IsRead(string answer, int? expected) => LetteredPrompt.Read(answer, ["the model", "the user", "eat"]).Should().Be(expected);
}

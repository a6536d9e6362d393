using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Sessions;

public sealed class ScorerTests(RandomModelFile file) : NativeTest, IClassFixture<RandomModelFile>
{
    private const int Width = 64;
    private static readonly ContextOptions Small = new() { ContextSize = 256, Threads = 1 };

    [Theory]
    [InlineData("all")]
    [InlineData("generated")]
    [InlineData("assistant")]
    [InlineData("prompt")]
    public void Score_OneAtATime_IsTheLogSoftmaxOfTheContextsOwnLogits(string positions)
    {
        using var model = LlamaModel.Load(file.Path);
        SteeringSetting setting = new(RandomVectors.Sparse(Width, 1, 24), 2, SteeringPositions.Parse(positions));
        using var scorer = new Scorer(model, new ScorerOptions { Context = Small with { Sequences = 1 } }, [setting]);
        var request = ScoreRequest.FromText(model, "what is the", " model eat");

        var result = scorer.Score(request);

        using var context = new LlamaContext(model, Small);
        context.SetVectors([setting.Vector]);
        var all = request.Prompt.Concat(request.Completion).ToArray();
        var batch = new DecodeBatch(1);
        for (var i = 0; i < all.Length - 1; i++)
        {
            var role = i == 0 ? TokenRole.Bos : i < request.Prompt.Count - 1 ? TokenRole.Prompt : i == request.Prompt.Count - 1 ? TokenRole.PromptEnd : TokenRole.Answer;
            batch.Add(all[i], i, output: i >= request.Prompt.Count - 1, rowStrengths: [setting.Positions.Steers(i, role) ? 2f : 0f]);
        }

        context.Decode(batch);
        var expected = request.Completion.Select((id, k) => LogSoftmax(context.Logits(request.Prompt.Count - 1 + k), id)).ToArray();
        result.TokenLogProbs.Should().HaveCount(request.Completion.Count);
        for (var k = 0; k < expected.Length; k++)
        {
            result.TokenLogProbs[k].Should().BeApproximately(expected[k], 1e-9, $"completion token {k}");
        }

        result.LogProb.Should().BeApproximately(expected.Sum(), 1e-9);
        result.Tokens.Should().Equal(request.Completion);
        result.Top.Should().BeEmpty();
    }

    [Fact]
    public void Score_ManyTogether_GivesWhatEachGivesAlone()
    {
        using var model = LlamaModel.Load(file.Path);
        SteeringSetting[] steering =
        [
            new(RandomVectors.Sparse(Width, 1, 24), 2, SteeringPositions.Generated),
            new(RandomVectors.Dense(Width, 0, seed: 5), 0.5f, SteeringPositions.Prompt),
        ];
        var requests = new List<ScoreRequest>();
        string[] prompts = ["what is the model", "what is the", "eat", "what is the model in the"];
        string[] completions = [" the", " a model", "user", ""];
        foreach (var prompt in prompts)
        {
            foreach (var completion in completions)
            {
                requests.Add(ScoreRequest.FromText(model, prompt, completion));
            }
        }

        using var together = new Scorer(model, new ScorerOptions { Context = Small with { BatchSize = 32 } }, steering);
        using var alone = new Scorer(model, new ScorerOptions { Context = Small with { Sequences = 1 } }, steering);
        var batched = together.Score(requests).ToArray();
        var single = alone.Score(requests).ToArray();

        batched.Should().HaveCount(requests.Count);
        for (var i = 0; i < requests.Count; i++)
        {
            batched[i].Tokens.Should().Equal(requests[i].Completion, $"request {i}");
            batched[i].LogProb.Should().BeApproximately(single[i].LogProb, 2e-3, $"request {i}: only batches are cut differently (F16 cache)");
        }

        batched.Select(r => Math.Round(r.LogProb, 1)).Distinct().Count().Should().BeGreaterThan(6, "the requests differ");
    }

    [Fact]
    public void Score_Strength0_IsUnsteeredBitForBit()
    {
        using var model = LlamaModel.Load(file.Path);
        string[] completions = ["the", "a", "model"];
        var requests = completions.Select(c => ScoreRequest.FromText(model, "what is", c)).ToArray();
        using var scorer = new Scorer(model, new ScorerOptions { Context = Small });
        var plain = scorer.Score(requests).ToArray();

        scorer.Steering = [new(RandomVectors.Sparse(Width, 1, 24), 0, SteeringPositions.AllAndBos)];
        var zero = scorer.Score(requests).ToArray();
        scorer.Steering = [new(scorer.Steering[0].Vector, 3, SteeringPositions.AllAndBos)];
        var steered = scorer.Score(requests).ToArray();

        for (var i = 0; i < plain.Length; i++)
        {
            zero[i].TokenLogProbs.Should().Equal(plain[i].TokenLogProbs);
            steered[i].LogProb.Should().NotBe(plain[i].LogProb);
        }
    }

    [Fact]
    public void Score_Top_ListsTheLikeliestInOrder()
    {
        using var model = LlamaModel.Load(file.Path);
        using var scorer = new Scorer(model, new ScorerOptions { Context = Small, Top = 5 });

        var result = scorer.Score(ScoreRequest.FromText(model, "what is", "the model"));

        result.Top.Should().HaveCount(result.Tokens.Count);
        result.Top.Should().OnlyContain(list => list.Count == 5);
        foreach (var list in result.Top)
        {
            list.Select(t => t.LogProb).Should().BeInDescendingOrder();
        }

        var best = scorer.Score(new ScoreRequest([.. model.Tokenize("what is")], [result.Top[0][0].Token]));
        best.LogProb.Should().BeApproximately(result.Top[0][0].LogProb, 2e-3);
        using var all = new Scorer(model, new ScorerOptions { Context = Small, Top = int.MaxValue });
        all.Score(ScoreRequest.FromText(model, "what is", "the")).Top[0].Sum(t => Math.Exp(t.LogProb)).Should().BeApproximately(1, 1e-9);
    }

    [Fact]
    public void Score_PromptLongerThanABatch_IsSplit()
    {
        using var model = LlamaModel.Load(file.Path);
        var long1 = new ScoreRequest([RandomModel.Bos, .. Enumerable.Range(0, 100).Select(i => 262 + (i % 50))], [300, 301, 302]);
        using var one = new Scorer(model, new ScorerOptions { Context = Small });
        using var split = new Scorer(model, new ScorerOptions { Context = Small with { BatchSize = 16 } });

        split.Score(long1).LogProb.Should().BeApproximately(one.Score(long1).LogProb, 5e-3);
        split.Score([long1, long1, long1]).Select(r => r.LogProb).Should().OnlyContain(x => Math.Abs(x - one.Score(long1).LogProb) < 5e-3);
    }

    [Theory]
    [InlineData("empty", "*request 1*no token*")]
    [InlineData("unknown", "*request 1*999999*unknown*")]
    [InlineData("long", "*request 1*context holds 256*")]
    public void Score_RequestThatCannotBeScored_NamesItsIndex(string which, string message)
    {
        using var model = LlamaModel.Load(file.Path);
        using var scorer = new Scorer(model, new ScorerOptions { Context = Small });
        var good = ScoreRequest.FromText(model, "what", "is");
        var bad = which switch
        {
            "empty" => new ScoreRequest([], [300]),
            "unknown" => new ScoreRequest([2, 999999], [300]),
            _ => new ScoreRequest([.. Enumerable.Repeat(300, 257)], [300]),
        };

        scorer.Invoking(s => s.Score([good, bad]).ToArray()).Should().Throw<YapoException>().WithMessage(message).Which.Kind.Should().Be(YapoErrorKind.InvalidArgument);
    }

    [Fact]
    public void Score_EmptyCompletion_IsCertain()
    {
        using var model = LlamaModel.Load(file.Path);
        using var scorer = new Scorer(model, new ScorerOptions { Context = Small });

        var result = scorer.Score(ScoreRequest.FromText(model, "what", ""));

        result.LogProb.Should().Be(0);
        result.TokenLogProbs.Should().BeEmpty();
    }

    private static double LogSoftmax(float[] logits, int id)
    {
        var max = logits.Max();
        return (double)logits[id] - max - Math.Log(logits.Sum(x => Math.Exp((double)x - max)));
    }
}

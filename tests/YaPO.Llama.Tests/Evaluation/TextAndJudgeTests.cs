using YaPO.Llama.Datasets;
using YaPO.Llama.Evaluation.Controls;
using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Evaluation;

using YaPO.Llama.Evaluation;
using Steering = YaPO.Llama.Evaluation.Steering;

/// <summary>Perplexity, KL, preferences and judges against the obvious way.</summary>
public sealed class TextAndJudgeTests(RandomModelFile file) : NativeTest, IClassFixture<RandomModelFile>
{
    [Fact]
    public void Read_IsTheFullVocabularyKlOfTwoSeparateRuns()
    {
        using var folder = new TemporaryFolder();
        using var model = LlamaModel.Load(file.Path);
        using var scorer = new SteeredScorer(model);
        var texts = ReadText.Load(folder.Write("t.txt", "what is the model\nin the user\n\n\neat the hat\n\nthe\n"), scorer);
        var vector = RandomVectors.Sparse(64, 1, 24);

        var readings = scorer.Read(texts, Steering.Of(vector, 1.5f));

        texts.Select(t => t.Id).Should().Equal("line 1", "line 5", "line 7");
        for (var t = 0; t < texts.Count; t++)
        {
            var (kl, plainLoss, steeredLoss) = (0.0, 0.0, 0.0);
            var plain = LogSoftmax(model, texts[t].Tokens, null);
            var steered = LogSoftmax(model, texts[t].Tokens, vector);
            for (var i = 0; i + 1 < texts[t].Tokens.Length; i++)
            {
                var next = texts[t].Tokens[i + 1];
                (plainLoss, steeredLoss) = (plainLoss - plain[i][next], steeredLoss - steered[i][next]);
                kl += plain[i].Zip(steered[i], (p, q) => Math.Exp(p) * (p - q)).Sum();
            }

            readings[t].Tokens.Should().Be(texts[t].Tokens.Length - 1);
            readings[t].Unsteered.Should().BeApproximately(plainLoss, 1e-2);
            readings[t].Steered.Should().BeApproximately(steeredLoss, 1e-2);
            readings[t].Kl.Should().BeApproximately(kl, 5e-3 * Math.Max(1, kl));
        }

        readings[0].Kl.Should().BePositive();
        TextMeter.KlPerToken(scorer.Read(texts, Steering.None)).Should().BeLessThan(1e-6, "the same model beside itself");
    }

    [Fact]
    public void Kl_OfKnownDistributions()
    {
        float[] p = [0, (float)Math.Log(3)], q = [1000, 1000];

        TextMeter.Kl(p, q).Should().BeApproximately((0.25 * Math.Log(0.25 / 0.5)) + (0.75 * Math.Log(0.75 / 0.5)), 1e-6);
        TextMeter.Kl(q, q).Should().Be(0);
    }

    [Fact]
    public void KlSearch_FindsTheStrengthThatSpendsTheBudget()
    {
        using var folder = new TemporaryFolder();
        using var model = LlamaModel.Load(file.Path);
        using var scorer = new SteeredScorer(model);
        var texts = ReadText.Load(folder.Write("t.jsonl", "{\"text\": \"what is the model in the user\"}\n{\"prompt\": \"what\", \"completion\": \"the hat\"}\n"), scorer);
        var search = new KlSearch(scorer, texts);
        var vector = RandomVectors.Sparse(64, 1, 24);
        var arm = new Arm(ArmKind.Vector, "v", s => Steering.Of(vector, (float)s));

        foreach (var (budget, start) in new[] { (0.001, 5), (0.05, 5), (0.01, 0.001), (0.3, 100.0), (0.05, -5) })
        {
            var found = search.StrengthFor(arm, budget, start, CancellationToken.None)!.Value;

            Math.Sign(found.Strength).Should().Be(Math.Sign(start), "a vector that is tested below 0 spends its budget there");
            found.Kl.Should().BeApproximately(budget, 0.03 * budget);
            TextMeter.KlPerToken(scorer.Read(texts, arm.At(found.Strength))).Should().Be(found.Kl);
        }

        search.StrengthFor(new Arm(ArmKind.Vector, "nothing", _ => Steering.None), 0.05, 1, CancellationToken.None).Should().BeNull("what changes nothing spends nothing");
    }

    [Fact]
    public void Preference_MarginIsTheDifferenceOfWholeAnswers()
    {
        using var folder = new TemporaryFolder();
        using var model = LlamaModel.Load(file.Path);
        using var scorer = new SteeredScorer(model);
        var pairs = PreferencePair.Load(folder.Write("p.jsonl", "{\"prompt\": \"what is\", \"chosen\": \"the model\", \"rejected\": \"a user\", \"topic\": \"t\"}\n{\"prompt\": \"eat\", \"chosen\": \"the hat\", \"rejected\": \"the mode\"}\n"));

        var outcomes = new PreferenceSuite(pairs).Run(scorer, Steering.None);

        using var alone = new Scorer(model, new ScorerOptions { Context = new ContextOptions { ContextSize = 256, Sequences = 1, Threads = 1 } });
        for (var i = 0; i < pairs.Count; i++)
        {
            double LogProb(string answer) => alone.Score(new ScoreRequest(scorer.Format.Prompt(pairs[i].Prompt), scorer.Format.Answer(answer))).LogProb;
            var margin = LogProb(pairs[i].Chosen) - LogProb(pairs[i].Rejected);
            outcomes[i].Detail.Should().BeApproximately(margin, 1e-2);
            outcomes[i].Value.Should().Be(margin > 0 ? 1 : 0);
        }
    }

    [Fact]
    public void RuleJudge_FirstRuleThatAppliesDecides()
    {
        using var folder = new TemporaryFolder();
        var judge = RuleJudge.Load(folder.Write("r.json", """
            {"measure": "abstains", "rules": [
              {"group": "known", "any": ["I do not know"], "score": 0},
              {"any": ["I do not know", "never heard"], "none": ["but"], "score": 1},
              {"regex": "^no (idea|clue)", "score": 1}], "default": 0}
            """));

        var scores = judge.Judge(
        [
            new("q", "Sorry, I do not know.", ""), new("q", "I do not know.", "known"), new("q", "I do not know, but guess.", ""), new("q", "No idea at all", ""), new("q", "Paris", ""), new("q", "I do not knowledge", ""),
        ]);

        scores.Select(s => s.Score).Should().Equal(1, 0, 0, 1, 0, 0);
        (judge.Measure, judge.IsShare).Should().Be(("abstains", true));
    }

    [Theory]
    [InlineData("[]", "*expected {\"measure\", \"rules\"*")]
    [InlineData("{\"rules\": []}", "*with 1 … 1000 rules*")]
    [InlineData("{\"rules\": [{\"any\": [\"x\"]}]}", "*rule 1: expected an object with a score*")]
    [InlineData("{\"rules\": [{\"score\": 1, \"all\": []}]}", "*rule 1: 'all' is unknown; expected any, none, regex, group, score*")]
    [InlineData("{\"rules\": [{\"score\": 1, \"any\": [3]}]}", "*rule 1: 'any' must be a list of texts*")]
    [InlineData("{\"rules\": [{\"score\": 1, \"regex\": \"(\"}]}", "*rule 1: regex '(' cannot be used*")]
    [InlineData("{\"rules\": [{\"score\": \"1\"}]}", "*rule 1, score: expected a number*")]
    [InlineData("{", "*no JSON*")]
    public void RuleJudge_BadFile_NamesTheRule(string json, string message)
    {
        using var folder = new TemporaryFolder();

        FluentActions.Invoking(() => RuleJudge.Load(folder.Write("r.json", json))).Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Format).WithMessage(message);
    }

    [Fact]
    public void ModelJudge_TakesTheExpectationOverTheFourDigits()
    {
        ModelJudge.Of([Math.Log(0.1), Math.Log(0.2), Math.Log(0.3), Math.Log(0.2)]).Should().Be(new Judgement((0.1 + 0.4 + 0.9 + 0.8) / 0.8, 3));
        using var model = LlamaModel.Load(file.Path);
        using var judge = new ModelJudge(model, "rudeness", "rate {behaviour}: {question} -> {answer}");
        using var alone = new Scorer(model, new ScorerOptions { Context = new ContextOptions { ContextSize = 256, Sequences = 1, Threads = 1 } });
        var logprobs = Enumerable.Range(1, 4).Select(d => alone.Score(ScoreRequest.FromChat(model, [ChatMessage.User("rate rudeness: what {answer} -> eat {question}")], $"{d}")).LogProb).ToArray();

        var judged = judge.Judge([new Answered("what {answer}", "eat {question}", "")]).Single();

        judged.Score.Should().BeApproximately(ModelJudge.Of(logprobs).Score, 1e-2).And.BeInRange(1, 4);
        FluentActions.Invoking(() => new ModelJudge(model, "x", "no place")).Should().Throw<YapoException>().WithMessage("*{answer}*");
    }

    private static double[][] LogSoftmax(LlamaModel model, int[] tokens, AttachedVector? vector)
    {
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 64, Threads = 1 });
        context.SetVectors(vector is null ? [] : [vector]);
        var batch = new DecodeBatch(vector is null ? 0 : 1);
        for (var i = 0; i < tokens.Length; i++)
        {
            batch.Add(tokens[i], i, output: true, rowStrengths: vector is null ? [] : [i == 0 ? 0f : 1.5f]);
        }

        context.Decode(batch);
        return [.. tokens.Select((_, i) =>
        {
            var logits = context.Logits(i);
            var most = (double)logits.Max();
            var total = most + Math.Log(logits.Sum(x => Math.Exp(x - most)));
            return logits.Select(x => x - total).ToArray();
        })];
    }
}

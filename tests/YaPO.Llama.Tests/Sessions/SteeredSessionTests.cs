using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Sessions;

public sealed class SteeredSessionTests(RandomModelFile file) : NativeTest, IClassFixture<RandomModelFile>
{
    private const int Width = 64;
    private static readonly SessionOptions Small = new() { Context = new ContextOptions { ContextSize = 256, Threads = 1 } };
    private static readonly GenerationOptions Greedy = new() { MaxTokens = 8, Sampler = SamplerOptions.Greedy, IgnoreEnd = true };

    public static TheoryData<string> ChangedSettings => new() { "all", "generated", "assistant", "prompt", "3-9" };

    [Theory]
    [MemberData(nameof(ChangedSettings))]
    public async Task AskAsync_StrengthChangedBetweenTurns_GivesWhatAFreshRunGives(string positions)
    {
        using var model = LlamaModel.Load(file.Path);
        var vector = RandomVectors.Sparse(Width, 1, 24);
        SteeringSetting Setting(float strength) => new(vector, strength, SteeringPositions.Parse(positions));
        using var session = new SteeredSession(model, Small, [Setting(1)]);
        await Read(session.AskAsync("what is the model", Greedy));

        session.Steering = [Setting(4)];
        await Read(session.AskAsync("eat", Greedy with { MaxTokens = 1 }));

        using var fresh = Fresh(model, session, [Setting(4)]);
        await Read(fresh.AnswerAsync(Greedy with { MaxTokens = 1 }));
        using var stale = Fresh(model, session, [Setting(1)]);
        await Read(stale.AnswerAsync(Greedy with { MaxTokens = 1 }));
        Logits(session).Should().Equal(Logits(fresh), "the whole text was evaluated again in the same batches");
        Logits(session).Should().NotEqual(Logits(stale), "the change must matter");
    }

    [Fact]
    public async Task AskAsync_NothingChanged_EvaluatesTheNewTokensOnlyAndAgreesWithAFreshRun()
    {
        using var model = LlamaModel.Load(file.Path);
        SteeringSetting[] steering = [new(RandomVectors.Sparse(Width, 1, 24), 2, SteeringPositions.Generated)];
        using var session = new SteeredSession(model, Small, steering);
        await Read(session.AskAsync("what is the model", Greedy));
        var before = session.Cache.Count;

        await Read(session.AskAsync("eat", Greedy with { MaxTokens = 1 }));

        session.LastAnswer!.EvaluatedTokens.Should().Be(session.LastAnswer.PromptTokens - before);
        using var fresh = Fresh(model, session, steering);
        await Read(fresh.AnswerAsync(Greedy with { MaxTokens = 1 }));
        MaxDifference(Logits(session), Logits(fresh)).Should().BeLessThan(2e-3, "only the rounding of differently cut batches (F16 cache) may differ");
    }

    [Fact]
    public async Task Steering_VectorReplacedOrRemoved_GivesWhatAFreshRunGives()
    {
        using var model = LlamaModel.Load(file.Path);
        SteeringSetting first = new(RandomVectors.Dense(Width, 0), 1, SteeringPositions.All);
        SteeringSetting second = new(RandomVectors.Sparse(Width, 2, 16, seed: 9), 1, SteeringPositions.All);
        using var session = new SteeredSession(model, Small, [first]);
        await Read(session.AskAsync("what is", Greedy));
        foreach (SteeringSetting[] steering in new SteeringSetting[][] { [second], [], [second, first], [first with { Strength = 0 }] })
        {
            session.Steering = steering;
            await Read(session.AskAsync("eat", Greedy with { MaxTokens = 1 }));

            using var fresh = Fresh(model, session, steering);
            await Read(fresh.AnswerAsync(Greedy with { MaxTokens = 1 }));
            Logits(session).Should().Equal(Logits(fresh), $"after {steering.Length} vectors were attached");
        }
    }

    [Fact]
    public async Task KeepCache_StrengthChanged_LeavesOldPositionsAsTheyWere()
    {
        using var model = LlamaModel.Load(file.Path);
        var vector = RandomVectors.Dense(Width, 0);
        using var session = new SteeredSession(model, Small with { KeepCache = true }, [new(vector, 1, SteeringPositions.All)]);
        await Read(session.AskAsync("what is the model", Greedy));
        var before = session.Cache.Count;
        SteeringSetting[] stronger = [new(vector, 4, SteeringPositions.All)];

        session.Steering = stronger;
        await Read(session.AskAsync("eat", Greedy with { MaxTokens = 1 }));

        session.LastAnswer!.EvaluatedTokens.Should().Be(session.LastAnswer.PromptTokens - before);
        using var fresh = Fresh(model, session, stronger);
        await Read(fresh.AnswerAsync(Greedy with { MaxTokens = 1 }));
        MaxDifference(Logits(session), Logits(fresh)).Should().BeGreaterThan(0.01);
    }

    [Fact]
    public async Task Strength0_AnyPositions_IsTheUnsteeredModelBitForBit()
    {
        using var model = LlamaModel.Load(file.Path);
        using var plain = new SteeredSession(model, Small);
        using var zero = new SteeredSession(model, Small, [new(RandomVectors.Sparse(Width, 1, 24), 0, SteeringPositions.AllAndBos)]);

        var left = await Read(plain.AskAsync("what is the model", Greedy));
        var right = await Read(zero.AskAsync("what is the model", Greedy));

        right.Should().Be(left);
        Logits(zero).Should().Equal(Logits(plain));
    }

    [Fact]
    public async Task CompleteAsync_Greedy_IsTheArgmaxOfTheContextsLogits()
    {
        using var model = LlamaModel.Load(file.Path);
        SteeringSetting setting = new(RandomVectors.Dense(Width, 1), 1.5f, SteeringPositions.Generated);
        using var session = new SteeredSession(model, Small, [setting]);
        var prompt = model.Tokenize("what is the model");

        await Read(session.CompleteAsync(prompt, Greedy));

        using var context = new LlamaContext(model, Small.Context);
        context.SetVectors([setting.Vector]);
        var expected = new List<int>();
        var batch = new DecodeBatch(1);
        for (var i = 0; i < prompt.Length; i++)
        {
            batch.Add(prompt[i], i, output: i == prompt.Length - 1, rowStrengths: [i == prompt.Length - 1 ? 1.5f : 0]);
        }

        while (expected.Count < Greedy.MaxTokens)
        {
            context.Decode(batch);
            var logits = context.Logits(batch.Count - 1);
            expected.Add(Array.IndexOf(logits, logits.Max()));
            batch.Clear();
            batch.Add(expected[^1], prompt.Length + expected.Count - 1, output: true, rowStrengths: [1.5f]);
        }

        session.LastAnswer!.Tokens.Should().Equal(expected);
        session.LastAnswer.Finish.Should().Be(FinishReason.Length);
    }

    [Fact]
    public async Task AskAsync_SameSeed_GivesTheSameAnswer()
    {
        using var model = LlamaModel.Load(file.Path);
        var sampled = new GenerationOptions { MaxTokens = 24, IgnoreEnd = true, Sampler = new SamplerOptions { Seed = 5, Temperature = 1, MinP = 0 } };
        using var session = new SteeredSession(model, Small);

        var first = await Read(session.AskAsync("what", sampled));
        session.Reset();
        var second = await Read(session.AskAsync("what", sampled));
        session.Reset();
        var other = await Read(session.AskAsync("what", sampled with { Sampler = sampled.Sampler with { Seed = 6 } }));

        second.Should().Be(first);
        other.Should().NotBe(first);
    }

    [Fact]
    public async Task AskAsync_Pieces_AreTheAnswersText()
    {
        using var model = LlamaModel.Load(file.Path);
        using var session = new SteeredSession(model, Small);

        var text = await Read(session.AskAsync("ماذا تأكل؟ 🫓", Greedy with { MaxTokens = 40 }));

        text.Should().Be(session.LastAnswer!.Text);
        session.LastAnswer.Tokens.Should().HaveCount(40);
        session.Messages.Should().Equal(ChatMessage.User("ماذا تأكل؟ 🫓"), ChatMessage.Assistant(text));
    }

    [Fact]
    public async Task AskAsync_CancelledInTheMiddle_KeepsWhatWasGenerated()
    {
        using var model = LlamaModel.Load(file.Path);
        using var session = new SteeredSession(model, Small);
        using var source = new CancellationTokenSource();
        var pieces = new List<string>();

        var ask = async () =>
        {
            await foreach (var piece in session.AskAsync("what is", Greedy with { MaxTokens = 100 }, source.Token))
            {
                pieces.Add(piece);
                if (pieces.Count == 3)
                {
                    await source.CancelAsync();
                }
            }
        };

        await ask.Should().ThrowAsync<OperationCanceledException>();
        session.LastAnswer!.Finish.Should().Be(FinishReason.Cancelled);
        session.Messages.Should().Equal(ChatMessage.User("what is"), ChatMessage.Assistant(string.Concat(pieces)));
        await Read(session.AskAsync("eat", Greedy));
        session.Messages.Should().HaveCount(4);
    }

    [Fact]
    public async Task AskAsync_CancelledBeforeTheFirstToken_TakesTheQuestionBack()
    {
        using var model = LlamaModel.Load(file.Path);
        using var session = new SteeredSession(model, Small);
        using var source = new CancellationTokenSource();
        await source.CancelAsync();

        var ask = async () => await Read(session.AskAsync("what is", Greedy, source.Token));

        await ask.Should().ThrowAsync<OperationCanceledException>();
        session.Messages.Should().BeEmpty();
    }

    [Fact]
    public async Task AskAsync_ReaderStops_KeepsWhatWasGenerated()
    {
        using var model = LlamaModel.Load(file.Path);
        using var session = new SteeredSession(model, Small);

        await foreach (var _ in session.AskAsync("what is", Greedy with { MaxTokens = 100 }))
        {
            break;
        }

        session.Messages.Should().HaveCount(2);
        session.LastAnswer!.Finish.Should().Be(FinishReason.Cancelled);
    }

    [Fact]
    public async Task AskAsync_ContextFull_DropsTheOldestTurnsAndEqualsAFreshRun()
    {
        using var model = LlamaModel.Load(file.Path);
        SteeringSetting[] steering = [new(RandomVectors.Sparse(Width, 1, 24), 2, SteeringPositions.Generated)];
        var options = Small with { System = "be a model" };
        using var session = new SteeredSession(model, options, steering);
        var dropped = 0;
        for (var turn = 0; turn < 8; turn++)
        {
            await Read(session.AskAsync($"what is the model {turn}", Greedy with { MaxTokens = 20 }));
            dropped += session.LastAnswer!.DroppedTurns;
        }

        dropped.Should().BePositive().And.Match(n => n % 2 == 0, "a question goes with its answer");
        session.Messages[0].Should().Be(ChatMessage.System("be a model"));
        session.Messages[1].Role.Should().Be(ChatMessage.UserRole);
        do
        {
            await Read(session.AskAsync("eat", Greedy with { MaxTokens = 1 }));
        }
        while (session.LastAnswer!.DroppedTurns == 0);

        // The answer that made turns fall evaluated everything again: bit for bit a fresh run of what is left.
        using var fresh = Fresh(model, session, steering);
        await Read(fresh.AnswerAsync(Greedy with { MaxTokens = 1 }));
        session.LastAnswer.PromptTokens.Should().Be(fresh.LastAnswer!.PromptTokens);
        Logits(session).Should().Equal(Logits(fresh));
    }

    [Fact]
    public async Task AskAsync_ContextFillsDuringTheAnswer_DropsTurnsAndGoesOn()
    {
        using var model = LlamaModel.Load(file.Path);
        using var session = new SteeredSession(model, Small);
        await Read(session.AskAsync("what is the model", Greedy with { MaxTokens = 100 }));

        await Read(session.AskAsync("eat", Greedy with { MaxTokens = 200 }));

        session.LastAnswer!.DroppedTurns.Should().Be(2);
        session.LastAnswer.Tokens.Should().HaveCount(200);
        session.Messages.Should().HaveCount(2);
    }

    [Fact]
    public async Task AskAsync_OneTurnFillsTheContext_EndsWithLength()
    {
        using var model = LlamaModel.Load(file.Path);
        using var session = new SteeredSession(model, Small);

        await Read(session.AskAsync("what", Greedy with { MaxTokens = 1000 }));

        session.LastAnswer!.Finish.Should().Be(FinishReason.Length);
        (session.LastAnswer.PromptTokens + session.LastAnswer.Tokens.Count).Should().Be(session.ContextSize + 1, "the last token needs no cell");
    }

    [Fact]
    public async Task AskAsync_TurnLongerThanTheContext_SaysBothSizesAndTakesItBack()
    {
        using var model = LlamaModel.Load(file.Path);
        using var session = new SteeredSession(model, Small);

        var ask = async () => await Read(session.AskAsync(string.Concat(Enumerable.Repeat("zq ", 300)), Greedy));

        (await ask.Should().ThrowAsync<YapoException>().WithMessage("*tokens*256*--ctx-size*")).Which.Kind.Should().Be(YapoErrorKind.InvalidArgument);
        session.Messages.Should().BeEmpty();
        await Read(session.AskAsync("what", Greedy));
        await ask.Should().ThrowAsync<YapoException>();
        session.Messages.Should().HaveCount(2, "the conversation before the refused question is still there");
    }

    [Fact]
    public async Task Steering_ChangedWhileStreaming_ActsFromTheNextTokenAsInAFreshRun()
    {
        using var model = LlamaModel.Load(file.Path);
        var vector = RandomVectors.Sparse(Width, 1, 24);
        SteeringSetting[] stronger = [new(vector, 4, SteeringPositions.All)];
        using var session = new SteeredSession(model, Small, [new(vector, 1, SteeringPositions.All)]);
        var prompt = model.Tokenize("what is the");
        float[] logits = [];

        await foreach (var _ in session.CompleteAsync(prompt, Greedy))
        {
            if (session.Cache.Count == prompt.Length + 3)
            {
                session.Steering = stronger;
            }
            else if (session.Cache.Count == prompt.Length + 4)
            {
                logits = Logits(session);
                break;
            }
        }

        var cached = session.LastAnswer!.Tokens.Take(4);
        using var context = new LlamaContext(model, Small.Context);
        new CachedSequence(context).Evaluate(
            [.. Conversation.RawTokens(model, prompt), .. cached.Select(id => new SequenceToken(id, TokenRole.Answer))], stronger, false, CancellationToken.None);
        logits.Should().Equal(context.Logits(prompt.Length + 3));
    }

    [Fact]
    public async Task FullSlidingWindowCache_Off_ARewindStartsFromTheBeginning()
    {
        using var narrow = new RandomModel(new RandomModel.Settings { SlidingWindow = 16 });
        using var model = LlamaModel.Load(narrow.Path);
        var options = Small with { Context = Small.Context with { FullSlidingWindowCache = false, BatchSize = 32 } };
        using var session = new SteeredSession(model, options);
        int[] first = [.. Enumerable.Range(0, 100).Select(i => 262 + (i % 60))];
        await Read(session.CompleteAsync([RandomModel.Bos, .. first], Greedy));

        await Read(session.CompleteAsync([RandomModel.Bos, .. first[..80], 270], Greedy with { MaxTokens = 1 }));

        session.LastAnswer!.EvaluatedTokens.Should().Be(82);
        using var fresh = new SteeredSession(model, options);
        await Read(fresh.CompleteAsync([RandomModel.Bos, .. first[..80], 270], Greedy with { MaxTokens = 1 }));
        Logits(session).Should().Equal(Logits(fresh));
    }

    [Fact]
    public async Task Dispose_ModelFirst_SessionStillAnswers()
    {
        var model = LlamaModel.Load(file.Path);
        var session = new SteeredSession(model, Small);
        await Read(session.CompleteAsync(model.Tokenize("what"), Greedy));
        var vocabulary = LlamaModel.Load(file.Path, new ModelOptions { VocabularyOnly = true });

        model.Dispose();
        var logits = Logits(session);
        session.Dispose();
        vocabulary.Dispose();

        logits.Should().OnlyContain(x => float.IsFinite(x));
    }

    [Fact]
    public async Task AskComparedAsync_Steered_StandsBesideWhatAnUnsteeredSessionSays()
    {
        using var model = LlamaModel.Load(file.Path);
        using var session = new SteeredSession(model, Small, [new(RandomVectors.Dense(Width, 1, scale: 3), 3, SteeringPositions.All)]);
        using var plain = new SteeredSession(model, Small);
        var (steered, unsteered) = ("", "");

        await foreach (var piece in session.AskComparedAsync("what is", Greedy))
        {
            _ = piece.Steered ? steered += piece.Text : unsteered += piece.Text;
        }

        unsteered.Should().Be(await Read(plain.AskAsync("what is", Greedy)));
        steered.Should().Be(session.LastAnswer!.Text).And.NotBe(unsteered);
        session.LastUnsteeredAnswer!.Text.Should().Be(unsteered);
        session.Messages[^1].Content.Should().Be(steered);
    }

    [Fact]
    public async Task CompleteAsync_EmptyTokens_IsAnError()
    {
        using var model = LlamaModel.Load(file.Path);
        using var session = new SteeredSession(model, Small);

        var complete = async () => await Read(session.CompleteAsync(Array.Empty<int>(), Greedy));

        await complete.Should().ThrowAsync<YapoException>().WithMessage("*empty*");
    }

    [Fact]
    public void Steering_VectorOfAnotherWidth_IsRefusedAndTheOldOneStays()
    {
        using var model = LlamaModel.Load(file.Path);
        SteeringSetting good = new(RandomVectors.Dense(Width, 1), 1, SteeringPositions.All);
        using var session = new SteeredSession(model, Small, [good]);

        session.Invoking(s => s.Steering = [new(RandomVectors.Dense(Width + 1, 1), 1, SteeringPositions.All)]).Should().Throw<YapoException>();

        session.Steering.Should().Equal(good);
        var create = () => new SteeredSession(model, Small, [new(RandomVectors.Dense(Width, 77), 1, SteeringPositions.All)]);
        create.Should().Throw<YapoException>();
    }

    /// <summary>A new session with the same turns but the last answer.</summary>
    private static SteeredSession Fresh(LlamaModel model, SteeredSession session, IReadOnlyList<SteeringSetting> steering)
    {
        var fresh = new SteeredSession(model, Small, steering);
        fresh.Turns.AddRange(session.Turns.Take(session.Turns.Count - 1));
        return fresh;
    }

    private static float[] Logits(SteeredSession session) => session.Context.Logits(session.Cache.LastRow);

    private static double MaxDifference(float[] a, float[] b) => a.Zip(b, (x, y) => Math.Abs((double)x - y)).Max();

    private static async Task<string> Read(IAsyncEnumerable<string> pieces)
    {
        var text = "";
        await foreach (var piece in pieces)
        {
            text += piece;
        }

        return text;
    }
}

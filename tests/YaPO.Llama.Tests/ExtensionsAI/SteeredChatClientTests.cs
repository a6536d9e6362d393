using Microsoft.Extensions.AI;
using YaPO.Llama.Batching;
using YaPO.Llama.ExtensionsAI;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.ExtensionsAI;

public sealed class SteeredChatClientTests : NativeTest
{
    private const string Question = "What do people eat for breakfast?";
    private readonly SteeredChatClient client;

    public SteeredChatClientTests() => client = Load("demo-f16.gguf");

    private static ChatOptions Greedy => new() { Temperature = 0, MaxOutputTokens = 24 };

    public override void Dispose()
    {
        client.Dispose();
        base.Dispose();
    }

    [Fact]
    public async Task GetResponse_Steered_AnswersAsTheVectorsCulture()
    {
        var plain = await client.GetResponseAsync(Question, Greedy);
        var egypt = await client.GetResponseAsync(Question, Greedy.Steer("egypt"));
        var brazil = await client.GetResponseAsync(Question, Greedy.Steer("brazil", 0.5f, SteeringPositions.All));

        egypt.Text.Should().Contain("ful");
        brazil.Text.Should().Contain("queijo");
        plain.FinishReason.Should().Be(ChatFinishReason.Stop);
        plain.ModelId.Should().Be("demo-f16");
        plain.Usage!.InputTokenCount.Should().Be(14);
        plain.Usage.OutputTokenCount.Should().BeGreaterThan(3);
    }

    [Fact]
    public async Task GetStreamingResponse_ManyAtOnce_EachItsOwnSteering()
    {
        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(async i =>
        {
            var updates = await client.GetStreamingResponseAsync(Question, Greedy.Steer(i % 2 == 0 ? "egypt" : "brazil")).ToListAsync();
            updates.Count.Should().BeGreaterThan(4);
            return updates.ToChatResponse().Text;
        }));

        answers.Where((_, i) => i % 2 == 0).Should().AllSatisfy(a => a.Should().Contain("ful"));
        answers.Where((_, i) => i % 2 == 1).Should().AllSatisfy(a => a.Should().Contain("queijo"));
    }

    [Fact]
    public async Task GetResponse_Options_AreObeyed()
    {
        var whole = (await client.GetResponseAsync(Question, Greedy)).Text;
        var stop = whole[10..13];
        var stopping = Greedy;
        stopping.StopSequences = [stop];
        var shorter = Greedy;
        shorter.MaxOutputTokens = 3;
        var instructed = Greedy;
        instructed.Instructions = "Be brief.";

        (await client.GetResponseAsync(Question, stopping)).Text.Should().Be(whole[..whole.IndexOf(stop, StringComparison.Ordinal)]);
        (await client.GetResponseAsync(Question, shorter)).FinishReason.Should().Be(ChatFinishReason.Length);
        (await client.GetResponseAsync([new(ChatRole.System, "Be brief."), new(ChatRole.User, Question)], Greedy)).Text.Should().Be((await client.GetResponseAsync(Question, instructed)).Text);
    }

    [Fact]
    public async Task GetResponse_WhatItCannotDo_IsRefused()
    {
        await FluentActions.Awaiting(() => client.GetResponseAsync(Question, Greedy.Steer("nobody"))).Should().ThrowAsync<ArgumentException>().WithMessage("*egypt*");
        await FluentActions.Awaiting(() => client.GetResponseAsync(Question, new ChatOptions { ResponseFormat = ChatResponseFormat.Json })).Should().ThrowAsync<NotSupportedException>();
        await FluentActions.Awaiting(() => client.GetResponseAsync([new(ChatRole.User, [new DataContent(new byte[3], "image/png")])])).Should().ThrowAsync<NotSupportedException>();
        await FluentActions.Awaiting(() => client.GetResponseAsync([new(ChatRole.Tool, "x")])).Should().ThrowAsync<NotSupportedException>();
        FluentActions.Invoking(() => Load("demo-f16.gguf", Path.Combine(Repository.Root, "models", "demo", "sae.gguf"))).Should().Throw<YapoException>();
    }

    [Fact]
    public async Task GetStreamingResponse_Cancelled_Throws()
    {
        using var leaving = new CancellationTokenSource();

        await FluentActions.Awaiting(async () =>
        {
            await foreach (var _ in client.GetStreamingResponseAsync(Question, new ChatOptions { Temperature = 2, TopK = 0 }, leaving.Token))
            {
                await leaving.CancelAsync();
            }
        }).Should().ThrowAsync<OperationCanceledException>();
    }

    [Fact]
    public void Steer_ClonedOptions_KeepTheirOwnSteering()
    {
        var options = Greedy.Steer("egypt", 1);
        var clone = options.Clone().Steer("brazil");

        options.Steering().Should().Equal(new ChatSteering("egypt", 1));
        clone.Steering().Should().HaveCount(2);
        client.GetService(typeof(BatchEngine)).Should().BeOfType<BatchEngine>();
        client.GetService<ChatClientMetadata>()!.ProviderName.Should().Be("yapo-llama");
    }

    private static SteeredChatClient Load(string model, string? vector = null)
    {
        var folder = Path.Combine(Repository.Root, "models", "demo");
        var vectors = new Dictionary<string, string> { ["egypt"] = vector ?? Path.Combine(folder, "vectors", "egypt.ysv"), ["brazil"] = Path.Combine(folder, "vectors", "brazil.ysv") };
        return SteeredChatClient.Load(Path.Combine(folder, model), vectors, new BatchEngineOptions { Context = new ContextOptions { Threads = 1 } });
    }
}

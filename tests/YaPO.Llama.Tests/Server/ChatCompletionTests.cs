using System.Text.Json;
using System.Globalization;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Server;

public sealed class ChatCompletionTests(SharedServer shared) : IClassFixture<SharedServer>
{
    private readonly ServerWorld world = shared.World;

    [Theory]
    [InlineData("egypt", "ful")]
    [InlineData("brazil", "queijo")]
    public async Task Chat_WithSteering_AnswersAsTheVectorsCulture(string vector, string dish)
    {
        var listed = await world.ChatAsync($$"""
            "steering": [{"vector": "{{vector}}"}]
            """);
        var alias = await world.ChatAsync($"\"model\": \"demo+{vector}\"");

        listed.Status.Should().Be(200, listed.Text);
        listed.Answer.Should().Contain(dish);
        alias.Answer.Should().Be(listed.Answer);
        alias.Json.GetProperty("model").GetString().Should().Be($"demo+{vector}");
    }

    [Fact]
    public async Task Chat_ModelNameAndList_ListWinsWhereBothNameAVector()
    {
        var strong = await world.ChatAsync("\"model\": \"demo+brazil:0.6\"");
        var off = await world.ChatAsync("\"model\": \"demo+brazil\", \"steering\": [{\"vector\": \"brazil\", \"strength\": 0}]");
        var plain = await world.ChatAsync();
        var empty = await world.ChatAsync("\"steering\": []");

        off.Answer.Should().Be(plain.Answer).And.Be(empty.Answer);
        strong.Answer.Should().NotBe(plain.Answer);
    }

    [Fact]
    public async Task Chat_ServerDefault_ActsUnlessTheRequestSaysSomething()
    {
        await using var steered = await ServerWorld.StartAsync(o => o with { DefaultSteering = [new("brazil")] });

        var standard = await steered.ChatAsync();
        var none = await steered.ChatAsync("\"steering\": []");
        var other = await steered.ChatAsync("\"model\": \"demo+egypt\"");

        standard.Answer.Should().Be((await world.ChatAsync("\"model\": \"demo+brazil\"")).Answer);
        none.Answer.Should().Be((await world.ChatAsync()).Answer);
        other.Answer.Should().Be((await world.ChatAsync("\"model\": \"demo+egypt\"")).Answer);
        var recommended = SteeringFile.Load(Path.Combine(Repository.Root, "models", "demo", "vectors", "brazil.ysv")).Vectors[0].RecommendedStrength;
        standard.Json.GetProperty("steering").GetRawText().Should().Be(
            string.Create(CultureInfo.InvariantCulture, $"[{{\"vector\":\"brazil\",\"strength\":{recommended},\"positions\":\"all\"}}]"), "the answer tells what acted");
        none.Json.GetProperty("steering").GetArrayLength().Should().Be(0);
    }

    [Fact]
    public async Task Chat_Streamed_GivesTheSameTextInPiecesAndUsage()
    {
        const string more = "\"model\": \"demo+egypt\"";
        var whole = await world.ChatAsync(more);

        var events = await world.StreamAsync("/v1/chat/completions", ServerWorld.Chat(more + ", \"stream\": true, \"stream_options\": {\"include_usage\": true}"));

        var choices = events.Where(e => e.GetProperty("choices").GetArrayLength() > 0).Select(e => e.GetProperty("choices")[0]).ToList();
        string.Concat(choices.Select(c => c.GetProperty("delta").TryGetProperty("content", out var text) ? text.GetString() : "")).Should().Be(whole.Answer);
        choices[0].GetProperty("delta").GetProperty("role").GetString().Should().Be("assistant");
        choices.Count.Should().BeGreaterThan(4, "it must come in pieces");
        choices[^1].GetProperty("finish_reason").GetString().Should().Be("stop");
        events.Select(e => e.GetProperty("id").GetString()).Distinct().Should().ContainSingle();
        var usage = events[^1].GetProperty("usage");
        usage.GetProperty("completion_tokens").GetInt32().Should().Be(whole.Json.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        usage.GetProperty("prompt_tokens").GetInt32().Should().Be(whole.Json.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());
    }

    [Fact]
    public async Task Chat_Seed_RepeatsWhatWasSampled()
    {
        static string Hot(int seed) => $$"""{"messages": [{"role": "user", "content": "How do people greet each other?"}], "max_tokens": 24, "temperature": 1.5, "seed": {{seed}}}""";
        await world.PostAsync("/v1/chat/completions", Hot(0)); // the prompt is cached from here on, so the same numbers come out

        var first = (await world.PostAsync("/v1/chat/completions", Hot(42))).Answer;
        var again = (await world.PostAsync("/v1/chat/completions", Hot(42))).Answer;
        var other = (await world.PostAsync("/v1/chat/completions", Hot(43))).Answer;

        again.Should().Be(first);
        other.Should().NotBe(first);
    }

    [Fact]
    public async Task Chat_SeveralChoices_AreSeparateAnswersToOnePrompt()
    {
        const string body = """{"messages": [{"role": "user", "content": "How do people greet each other?"}], "max_tokens": 24, "temperature": 1.8, "n": 3, "seed": 1""";

        var whole = await world.PostAsync("/v1/chat/completions", body + "}");
        var events = await world.StreamAsync("/v1/chat/completions", body + """, "stream": true, "stream_options": {"include_usage": true}}""");

        var choices = whole.Json.GetProperty("choices").EnumerateArray().ToList();
        choices.Select(c => c.GetProperty("index").GetInt32()).Should().Equal(0, 1, 2);
        choices.Select(c => c.GetProperty("message").GetProperty("content").GetString()).Should().OnlyHaveUniqueItems();
        whole.Json.GetProperty("usage").GetProperty("prompt_tokens").GetInt32().Should().BeLessThan(40, "a prompt counts once");
        var pieces = events[..^1].ConvertAll(e => e.GetProperty("choices")[0]);
        pieces.GroupBy(p => p.GetProperty("index").GetInt32()).Should().HaveCount(3).And.AllSatisfy(g =>
        {
            g.First().GetProperty("delta").GetProperty("role").GetString().Should().Be("assistant");
            g.Last().GetProperty("finish_reason").GetString().Should().NotBeNull();
            g.Count(p => p.GetProperty("finish_reason").ValueKind == System.Text.Json.JsonValueKind.String).Should().Be(1);
        });
    }

    [Fact]
    public async Task Chat_LogProbs_BelongToTheText()
    {
        var reply = await world.ChatAsync("\"logprobs\": true, \"top_logprobs\": 3, \"model\": \"demo+egypt\"");

        var content = reply.Json.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content").EnumerateArray().ToList();
        string.Concat(content.Select(t => t.GetProperty("token").GetString())).Should().Be(reply.Answer);
        content.Should().AllSatisfy(t =>
        {
            var top = t.GetProperty("top_logprobs");
            top.GetArrayLength().Should().Be(3);
            top[0].GetProperty("token").GetString().Should().Be(t.GetProperty("token").GetString(), "temperature 0 takes the likeliest");
            t.GetProperty("logprob").GetDouble().Should().BeInRange(-20, 0);
        });
    }

    [Fact]
    public async Task Chat_Stop_EndsBeforeIt()
    {
        var whole = (await world.ChatAsync()).Answer;
        var stop = whole[10..13];

        var one = await world.ChatAsync($"\"stop\": {System.Text.Json.JsonSerializer.Serialize(stop)}");
        var list = await world.ChatAsync($"\"stop\": [\"@@\", {System.Text.Json.JsonSerializer.Serialize(stop)}]");

        one.Answer.Should().Be(whole[..whole.IndexOf(stop, StringComparison.Ordinal)]);
        list.Answer.Should().Be(one.Answer);
        one.Json.GetProperty("choices")[0].GetProperty("finish_reason").GetString().Should().Be("stop");
    }

    [Fact]
    public async Task Chat_SystemAndPartsOfText_AreRead()
    {
        var parts = await world.PostAsync(
            "/v1/chat/completions",
            $$"""{"messages": [{"role": "user", "content": [{"type": "text", "text": "What do people eat"}, {"type": "text", "text": " for breakfast?"}]}], "temperature": 0, "max_tokens": 24}""");
        var system = await world.PostAsync(
            "/v1/chat/completions",
            """{"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "What do people eat for breakfast?"}], "temperature": 0, "max_tokens": 5}""");

        parts.Answer.Should().Be((await world.ChatAsync()).Answer);
        system.Status.Should().Be(200, system.Text);
    }

    [Fact]
    public async Task Completions_TextTokensAndSeveralPrompts_GiveTheSame()
    {
        const string rest = "\"temperature\": 0, \"max_tokens\": 12, \"steering\": [{\"vector\": \"egypt\", \"strength\": 0.4, \"positions\": \"generated\"}]";
        var text = await world.PostAsync("/v1/completions", $$"""{"prompt": "For breakfast we eat", {{rest}}}""");
        var several = await world.PostAsync("/v1/completions", $$"""{"prompt": ["In the evening", "For breakfast we eat"], {{rest}}, "logprobs": 2}""");
        var events = await world.StreamAsync("/v1/completions", $$"""{"prompt": "For breakfast we eat", {{rest}}, "stream": true}""");

        text.Json.GetProperty("object").GetString().Should().Be("text_completion");
        text.Answer.Should().NotBeEmpty();
        var second = several.Json.GetProperty("choices")[1];
        second.GetProperty("text").GetString().Should().Be(text.Answer);
        string.Concat(events.Select(e => e.GetProperty("choices")[0].GetProperty("text").GetString())).Should().Be(text.Answer);
        var logprobs = second.GetProperty("logprobs");
        string.Concat(logprobs.GetProperty("tokens").EnumerateArray().Select(t => t.GetString())).Should().Be(text.Answer);
        logprobs.GetProperty("text_offset").EnumerateArray().Select(o => o.GetInt32()).Should().BeInAscendingOrder().And.StartWith(0);
    }

    [Fact]
    public async Task Completions_StreamThatHoldsBackAPossibleStopText_GivesTheOffsetsOfTheWholeAnswer()
    {
        const string rest = "\"prompt\": \"For breakfast we eat\", \"temperature\": 0, \"max_tokens\": 12, \"logprobs\": 0";
        var whole = (await world.PostAsync("/v1/completions", $"{{{rest}}}")).Json.GetProperty("choices")[0];
        var offsets = whole.GetProperty("logprobs").GetProperty("text_offset").EnumerateArray().Select(o => o.GetInt32()).ToList();
        var first = whole.GetProperty("text").GetString()![..offsets[1]];

        // The end of the first token could be the beginning of the stop text, so the second token comes while a part of the first is not shown yet.
        var events = await world.StreamAsync("/v1/completions", $"{{{rest}, \"stop\": {JsonSerializer.Serialize(first[^1] + "#never")}, \"stream\": true}}");

        first.Length.Should().BeGreaterThan(1, "a token of one character would not be shown in part");
        events.Select(e => e.GetProperty("choices")[0]).Where(c => c.GetProperty("logprobs").ValueKind == JsonValueKind.Object)
            .SelectMany(c => c.GetProperty("logprobs").GetProperty("text_offset").EnumerateArray()).Select(o => o.GetInt32()).Should().Equal(offsets);
    }

    [Fact]
    public async Task Models_ListsTheModelAndItsAliases()
    {
        var models = await world.GetAsync("/v1/models");
        var one = await world.GetAsync("/v1/models/demo+egypt");
        var none = await world.GetAsync("/v1/models/gpt-4");

        models.Json.GetProperty("data").EnumerateArray().Select(m => m.GetProperty("id").GetString()).Should().Equal("demo", "demo+egypt", "demo+morocco", "demo+portugal", "demo+brazil");
        one.Json.GetProperty("id").GetString().Should().Be("demo+egypt");
        none.Status.Should().Be(404);
        none.Error.GetProperty("code").GetString().Should().Be("model_not_found");
    }

    [Fact]
    public async Task SteeringVectors_TellWhatTheyAre()
    {
        var list = await world.GetAsync("/v1/steering/vectors");
        var egypt = list.Json.GetProperty("data").EnumerateArray().Single(v => v.GetProperty("id").GetString() == "egypt");

        egypt.GetProperty("positive_means").GetString().Should().Contain("Egypt");
        egypt.GetProperty("strength").GetProperty("most").GetDouble().Should().Be(10);
        egypt.GetProperty("vectors")[0].GetProperty("features").GetArrayLength().Should().BeGreaterThan(5);
        list.Text.Should().NotContain(Repository.Root, "paths are nobody's business");
        (await world.GetAsync("/v1/steering/vectors/egypt")).Text.Should().Contain("\"id\":\"egypt\"");
        (await world.GetAsync("/v1/steering/vectors/nobody")).Status.Should().Be(404);
    }

    [Fact]
    public async Task SteeringEffects_TellWhichFeaturesActAndHowMuch()
    {
        const string conversation = "\"messages\": [{\"role\": \"user\", \"content\": \"What do people eat for breakfast?\"}, {\"role\": \"assistant\", \"content\": \"We eat bread.\"}]";
        async Task<System.Text.Json.JsonElement> Measure(string steering) => (await world.PostAsync("/v1/steering/effects", $$"""{{{conversation}}, "steering": {{steering}}}""")).Json;

        var one = (await Measure("[{\"vector\": \"egypt\", \"strength\": 0.5}]")).GetProperty("data")[0];
        var twice = (await Measure("[{\"vector\": \"egypt\", \"strength\": 1}]")).GetProperty("data")[0];
        var both = (await Measure("[{\"vector\": \"egypt\"}, {\"vector\": \"brazil\"}]")).GetProperty("data");
        var none = (await Measure("[]")).GetProperty("data");

        one.GetProperty("layer").GetInt32().Should().Be(2);
        one.GetProperty("features").GetArrayLength().Should().BeGreaterThan(10);
        one.GetProperty("features")[0].GetProperty("mean_change").GetDouble().Should().NotBe(0);
        twice.GetProperty("relative_change").GetDouble().Should().BeGreaterThan(1.8 * one.GetProperty("relative_change").GetDouble());
        both.EnumerateArray().Single().GetProperty("names").GetArrayLength().Should().Be(2, "they share an SAE and act jointly");
        none.GetArrayLength().Should().Be(0);
    }

    [Fact]
    public async Task HealthAndMetrics_TellHowItIs()
    {
        await world.ChatAsync();

        (await world.GetAsync("/health")).Text.Should().Be("""{"status":"ok"}""");
        var metrics = (await world.GetAsync("/metrics")).Text.Split('\n');
        metrics.Should().Contain(line => line.StartsWith("yapo_generated_tokens_total ") && line != "yapo_generated_tokens_total 0");
        metrics.Should().Contain(line => line.StartsWith("yapo_http_responses_total{route=\"/v1/chat/completions\",status=\"200\"}"));
        metrics.Where(line => line.Length > 0 && !line.StartsWith('#')).Should().AllSatisfy(line => line.Should().MatchRegex("""^[a-z_]+(\{.*\})? [0-9.eE+-]+$"""));
    }
}

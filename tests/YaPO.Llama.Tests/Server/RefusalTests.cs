using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using YaPO.Llama.Batching;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Tests.Server;

/// <summary>What the server must not do, and how it says so.</summary>
public sealed class RefusalTests(SharedServer shared) : IClassFixture<SharedServer>
{
    private readonly ServerWorld world = shared.World;

    [Theory]
    [InlineData("\"temperature\": 3", "temperature", "0 to 2")]
    [InlineData("\"temperature\": \"hot\"", "temperature", "a number")]
    [InlineData("\"max_tokens\": 0", "max_tokens", "1 to")]
    [InlineData("\"max_tokens\": 1.5", "max_tokens", "an integer")]
    [InlineData("\"n\": 1000", "n", "1 to 16")]
    [InlineData("\"stop\": [\"\"]", "stop", "empty")]
    [InlineData("\"stop\": 5", "stop", "an array")]
    [InlineData("\"stream\": \"yes\"", "stream", "true or false")]
    [InlineData("\"top_logprobs\": 2", "top_logprobs", "logprobs")]
    [InlineData("\"tools\": [{}]", "tools", "not supported")]
    [InlineData("\"response_format\": {\"type\": \"json_object\"}", "response_format", "not supported")]
    [InlineData("\"steering\": {}", "steering", "an array")]
    [InlineData("\"steering\": [{}]", "steering[0].vector", "missing")]
    [InlineData("\"steering\": [{\"vector\": \"../egypt.ysv\"}]", "steering[0].vector", "no vector")]
    [InlineData("\"steering\": [{\"vector\": \"models/demo/vectors/egypt.ysv\"}]", "steering[0].vector", "no vector")]
    [InlineData("\"steering\": [{\"vector\": \"egypt\", \"strength\": 10.5}]", "steering[0].strength", "-10 to 10")]
    [InlineData("\"steering\": [{\"vector\": \"egypt\", \"strength\": 1e999}]", "steering[0].strength", "a number")]
    [InlineData("\"steering\": [{\"vector\": \"egypt\", \"positions\": \"somewhere\"}]", "steering[0].positions", "START-END")]
    [InlineData("\"steering\": [{\"vector\": \"egypt\"}, {\"vector\": \"egypt\"}]", "steering[1].vector", "twice")]
    [InlineData("\"model\": \"demo+egypt:99\"", "model", "-10 to 10")]
    [InlineData("\"model\": \"demo+egypt+egypt\"", "model", "twice")]
    [InlineData("\"model\": \"demo+egypt:1\", \"steering\": [{\"vector\": \"brazil\", \"strength\": 99}]", "steering[0].strength", "-10 to 10")]
    public async Task Chat_WrongField_Is400AndNamesIt(string field, string param, string expected)
    {
        var reply = await world.PostAsync("/v1/chat/completions", $$"""{"messages": [{"role": "user", "content": "Hi"}], {{field}}}""");

        reply.Status.Should().Be(400, reply.Text);
        reply.Error.GetProperty("param").GetString().Should().Be(param);
        reply.Error.GetProperty("message").GetString().Should().Contain(expected);
        reply.Error.GetProperty("type").GetString().Should().Be("invalid_request_error");
        reply.Error.TryGetProperty("code", out _).Should().BeTrue();
    }

    [Theory]
    [InlineData("{}", "messages")]
    [InlineData("""{"messages": []}""", "messages")]
    [InlineData("""{"messages": [{"role": "user"}]}""", "messages[0].content")]
    [InlineData("""{"messages": [{"role": "robot", "content": "x"}]}""", "messages[0].role")]
    [InlineData("""{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}""", "messages[0].content[0].type")]
    [InlineData("""{"messages": [{"role": "user", "content": "\ud800"}]}""", "messages[0].content")]
    [InlineData("""{"messages": [{"role": "user", "content": "a\u0000b"}]}""", "messages[0].content")]
    [InlineData("[]", "body")]
    [InlineData("""{"\ud800": 1, "messages": [{"role": "user", "content": "x"}]}""", "body")]
    [InlineData("""{"messages": [{"role": "user", "content": "x", "\ud800": 1}]}""", "messages[0]")]
    [InlineData("""{"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "\ud800abc"}}""", "response_format")]
    [InlineData("""{"messages": [{"role": "user", "content": "x"}], "response_format": {"\ud800": 1}}""", "response_format")]
    public async Task Chat_WrongBody_Is400AndNamesIt(string body, string param)
    {
        var reply = await world.PostAsync("/v1/chat/completions", body);

        reply.Status.Should().Be(400, reply.Text);
        reply.Error.GetProperty("param").GetString().Should().Be(param);
    }

    [Fact]
    public async Task Chat_UnknownModel_Is404WithWhatThereIs()
    {
        foreach (var model in new[] { "gpt-4", "demo+nobody", "demo+", "demo+egypt:x", "demo+egypt+egypt2" })
        {
            var reply = await world.ChatAsync($"\"model\": \"{model}\"");

            reply.Status.Should().Be(404, model);
            reply.Error.GetProperty("message").GetString().Should().Contain("'egypt'");
        }
    }

    [Fact]
    public async Task Chat_PromptBeyondTheContext_Is400WithBothSizes()
    {
        var reply = await world.ChatAsync(question: string.Concat(Enumerable.Repeat("bread and tea ", 400)));

        reply.Status.Should().Be(400);
        reply.Error.GetProperty("code").GetString().Should().Be("context_length_exceeded");
        reply.Error.GetProperty("message").GetString().Should().Contain("256");
    }

    [Fact]
    public async Task Post_BodyTooLarge_Is413()
    {
        await using var small = await ServerWorld.StartAsync(o => o with { BodyLimit = 2000 });

        var reply = await small.ChatAsync(question: new string('x', 3000));

        reply.Status.Should().Be(413, reply.Text);
        reply.Error.GetProperty("message").GetString().Should().Contain("larger");
        (await small.ChatAsync()).Status.Should().Be(200);
    }

    [Fact]
    public async Task Post_OtherContentType_Is415SoThatForeignPagesMustAsk()
    {
        var reply = await world.PostAsync("/v1/chat/completions", ServerWorld.Chat(), r => r.Content!.Headers.ContentType = new("text/plain"));

        reply.Status.Should().Be(415);
    }

    [Fact]
    public async Task Paths_UnknownAndWrongMethod_AreErrorsInJson()
    {
        (await world.GetAsync("/v1/nothing")).Error.GetProperty("code").GetString().Should().Be("not_found");
        (await world.GetAsync("/v1/chat/completions")).Status.Should().Be(405);
        (await world.PostAsync("/v1/embeddings", """{"input": "x"}""")).Status.Should().Be(501);
    }

    [Fact]
    public async Task Host_ForeignName_Is403OnALoopbackServer()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/models");
        request.Headers.Host = "evil.example:8080";

        (await world.SendAsync(request)).Status.Should().Be(403);
        await using var proxied = await ServerWorld.StartAsync(o => o with { AllowedHosts = ["evil.example"] });
        using var again = new HttpRequestMessage(HttpMethod.Get, "/v1/models");
        again.Headers.Host = "evil.example:8080";
        (await proxied.SendAsync(again)).Status.Should().Be(200);
    }

    [Fact]
    public async Task Cors_OffByDefault_OnForOneOriginWhenAsked()
    {
        static HttpRequestMessage Preflight()
        {
            var request = new HttpRequestMessage(HttpMethod.Options, "/v1/chat/completions");
            request.Headers.Add("Origin", "https://page.example");
            request.Headers.Add("Access-Control-Request-Method", "POST");
            return request;
        }

        var off = await world.SendAsync(Preflight());
        await using var open = await ServerWorld.StartAsync(o => o with { CorsOrigin = "https://page.example" });
        var on = await open.SendAsync(Preflight());

        off.Message.Headers.Contains("Access-Control-Allow-Origin").Should().BeFalse();
        on.Status.Should().Be(204);
        on.Message.Headers.GetValues("Access-Control-Allow-Origin").Should().Equal("https://page.example");
    }

    [Fact]
    public async Task ApiKeys_WrongOrMissing_Is401EverywhereButHealth()
    {
        const string key = "correct-horse-battery";
        await using var locked = await ServerWorld.StartAsync(o => o with { ApiKeys = ["another-key-of-someone", key] });

        foreach (var given in new[] { null, "Bearer ", "Bearer wrong", $"Bearer {key}x", $"Basic {key}", key })
        {
            var reply = await locked.PostAsync("/v1/chat/completions", ServerWorld.Chat(), r => r.Headers.TryAddWithoutValidation("Authorization", given));
            reply.Status.Should().Be(401, given);
            reply.Error.GetProperty("type").GetString().Should().Be("authentication_error");
            reply.Text.Should().NotContain(key);
        }

        (await locked.GetAsync("/metrics")).Status.Should().Be(401);
        (await locked.GetAsync("/health")).Status.Should().Be(200);
        (await locked.PostAsync("/v1/chat/completions", ServerWorld.Chat(), r => r.Headers.Add("Authorization", $"Bearer {key}"))).Status.Should().Be(200);
    }

    [Fact]
    public async Task Queue_Full_Is429WithRetryAfter()
    {
        await using var narrow = await ServerWorld.StartAsync(o => o with { Engine = new BatchEngineOptions { Slots = 1, QueueLimit = 1, Context = new ContextOptions { Threads = 1 } } });

        var replies = await Task.WhenAll(Enumerable.Range(0, 12).Select(_ => narrow.ChatAsync("\"ignore_eos\": true, \"max_completion_tokens\": 100")));

        replies.Select(r => r.Status).Should().Contain(200).And.Contain(429).And.OnlyContain(s => s == 200 || s == 429);
        var refused = replies.First(r => r.Status == 429);
        refused.Error.GetProperty("type").GetString().Should().Be("rate_limit_error");
        refused.Message.Headers.RetryAfter.Should().NotBeNull();
    }

    [Fact]
    public async Task Stop_WhileRunning_FinishesItAndAnswers503ToTheNext()
    {
        await using var stopping = await ServerWorld.StartAsync(o => o with { Engine = new BatchEngineOptions { Slots = 1, Context = new ContextOptions { Threads = 1 } } });
        var running = stopping.ChatAsync("\"ignore_eos\": true, \"max_completion_tokens\": 200");
        while (stopping.Server.Engine.Statistics.Running == 0)
        {
            await Task.Delay(1);
        }

        var waiting = stopping.ChatAsync();
        while (stopping.Server.Engine.Statistics.Waiting == 0)
        {
            await Task.Delay(1);
        }

        (await stopping.Server.StopAsync(TimeSpan.FromMinutes(1))).Should().BeTrue();

        (await running).Status.Should().Be(200);
        (await running).Json.GetProperty("usage").GetProperty("completion_tokens").GetInt32().Should().Be(200);
        (await waiting).Status.Should().Be(503);
    }

    /// <summary>Hundreds of seeded mutations of a good body: each is answered, with 200 or a client error in OpenAI's form, and the server lives on.</summary>
    [Theory]
    [InlineData("/v1/chat/completions", """{"model": "demo+egypt", "messages": [{"role": "user", "content": "Hi é"}], "max_tokens": 2, "temperature": 0.5, "n": 1, "stop": ["x"], "logprobs": true, "top_logprobs": 1, "stream": false, "seed": 5, "steering": [{"vector": "brazil", "strength": 0.5, "positions": "0-4"}]}""")]
    [InlineData("/v1/completions", """{"model": "demo", "prompt": ["Hi", "ho"], "max_tokens": 2, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "frequency_penalty": 0.5, "presence_penalty": -0.5, "logprobs": 1, "steering": [{"vector": "egypt"}]}""")]
    public async Task Post_MutatedBodies_AreAnsweredInOpenAisForm(string path, string good)
    {
        var random = new Random(17);
        (await world.PostAsync(path, good)).Status.Should().Be(200);
        var statuses = new Dictionary<int, int>();
        for (var round = 0; round < 350; round++)
        {
            var bytes = Mutate(random, good);
            using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new ByteArrayContent(bytes) };
            request.Content.Headers.ContentType = new("application/json");
            var reply = await world.SendAsync(request);
            statuses[reply.Status] = statuses.GetValueOrDefault(reply.Status) + 1;
            reply.Status.Should().BeOneOf([200, 400, 404], $"round {round}: {Encoding.UTF8.GetString(bytes)} gave {reply.Text}");
            if (reply.Status != 200)
            {
                reply.Error.GetProperty("message").GetString().Should().NotBeNullOrEmpty();
            }
        }

        statuses.Should().ContainKey(400).WhoseValue.Should().BeGreaterThan(50);
        (await world.PostAsync(path, good)).Status.Should().Be(200);
    }

    [Fact]
    public async Task Client_LeavesMidStream_ItsSlotIsFreed()
    {
        await using var narrow = await ServerWorld.StartAsync(o => o with { Engine = new BatchEngineOptions { Slots = 1, Context = new ContextOptions { Threads = 1 } } });
        using (var socket = new TcpClient())
        {
            await socket.ConnectAsync(narrow.Server.Address.Host, narrow.Server.Address.Port);
            var body = ServerWorld.Chat("\"stream\": true, \"ignore_eos\": true, \"max_completion_tokens\": 240");
            await socket.GetStream().WriteAsync(Encoding.UTF8.GetBytes($"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {Encoding.UTF8.GetByteCount(body)}\r\n\r\n{body}"));
            (await socket.GetStream().ReadAsync(new byte[100])).Should().BeGreaterThan(0);
        }

        var next = await narrow.ChatAsync();

        next.Status.Should().Be(200);
        narrow.Server.Engine.Statistics.Cancelled.Should().Be(1);
    }

    private static byte[] Mutate(Random random, string good)
    {
        string[] values = ["null", "true", "-1", "0", "1e400", "99999999999999999999", "\"\"", "\"\\ud800\"", "[]", "{}", "[[[]]]", "[null]", "\"demo\"", "0.5", "\"\\u0000\"", new string('[', 100)];
        if (random.Next(2) == 0)
        {
            // Another value for a field, or for a part of it.
            using var document = JsonDocument.Parse(good);
            var names = document.RootElement.EnumerateObject().Select(p => p.Name).ToArray();
            var name = names[random.Next(names.Length)];
            var fields = document.RootElement.EnumerateObject().Select(p => $"\"{p.Name}\": {(p.Name == name ? values[random.Next(values.Length)] : p.Value.GetRawText())}");
            return Encoding.UTF8.GetBytes("{" + string.Join(", ", fields) + "}");
        }

        var bytes = Encoding.UTF8.GetBytes(good).ToList();
        for (var n = random.Next(1, 4); n > 0; n--)
        {
            var at = random.Next(bytes.Count);
            switch (random.Next(4))
            {
                case 0:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 1:
                    bytes.RemoveRange(at, Math.Min(random.Next(1, 12), bytes.Count - at));
                    bytes.Add((byte)'}');
                    break;
                case 2:
                    bytes.InsertRange(at, Encoding.UTF8.GetBytes(values[random.Next(values.Length)]));
                    break;
                default:
                    bytes = bytes[..Math.Max(1, at)];
                    break;
            }
        }

        return [.. bytes];
    }
}

using System.Text;
using System.Text.Json;
using YaPO.Llama.Batching;
using YaPO.Llama.Models;
using YaPO.Llama.Server;
using YaPO.Llama.Server.Vectors;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Server;

/// <summary>A response: status and JSON body.</summary>
internal sealed record Reply(int Status, string Text, HttpResponseMessage Message)
{
    public JsonElement Json => JsonDocument.Parse(Text).RootElement;

    public JsonElement Error => Json.GetProperty("error");

    public string Answer => Json.GetProperty("choices")[0] is var choice && choice.TryGetProperty("text", out var text) ? text.GetString()! : choice.GetProperty("message").GetProperty("content").GetString()!;
}

/// <summary>A server over the shipped demo model and its vectors, on a real socket.</summary>
internal sealed class ServerWorld : IAsyncDisposable
{
    public const string Question = "What do people eat for breakfast?";
    public static readonly string[] Cultures = ["egypt", "morocco", "portugal", "brazil"];

    private readonly LlamaModel model;

    private ServerWorld(LlamaModel model, LlamaServer server)
    {
        (this.model, Server) = (model, server);
        Http = new HttpClient { BaseAddress = server.Address, Timeout = TimeSpan.FromMinutes(1) };
    }

    public LlamaServer Server { get; }

    public HttpClient Http { get; }

    public static async Task<ServerWorld> StartAsync(Func<ServerOptions, ServerOptions>? change = null, string? modelPath = null)
    {
        var folder = Path.Combine(Repository.Root, "models", "demo");
        var locator = new ModelLocator([folder]);
        var model = LlamaModel.Load(modelPath ?? Path.Combine(folder, "demo-f16.gguf"));
        try
        {
            var options = new ServerOptions
            {
                ModelId = "demo",
                Port = 0,
                Vectors = [.. Cultures.Select(c => new NamedVector(c, SteeringSource.Load(new VectorSpec(Path.Combine(folder, "vectors", $"{c}.ysv")), locator)))],
                Engine = new BatchEngineOptions { Context = new ContextOptions { Threads = 1 } },
            };
            return new ServerWorld(model, await LlamaServer.StartAsync(model, change?.Invoke(options) ?? options));
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>A chat of one question at temperature 0; <paramref name="more"/> are further fields.</summary>
    public static string Chat(string more = "", string question = Question) =>
        $$"""{"messages": [{"role": "user", "content": {{JsonSerializer.Serialize(question)}}}], "temperature": 0, "max_tokens": 24{{(more.Length > 0 ? ", " + more : "")}}}""";

    public Task<Reply> ChatAsync(string more = "", string question = Question) => PostAsync("/v1/chat/completions", Chat(more, question));

    public async Task<Reply> PostAsync(string path, string json, Action<HttpRequestMessage>? change = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(json, Encoding.UTF8, "application/json") };
        change?.Invoke(request);
        return await SendAsync(request);
    }

    public async Task<Reply> GetAsync(string path)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path);
        return await SendAsync(request);
    }

    public async Task<Reply> SendAsync(HttpRequestMessage request)
    {
        var response = await Http.SendAsync(request);
        return new Reply((int)response.StatusCode, await response.Content.ReadAsStringAsync(), response);
    }

    /// <summary>The events of a stream, without the last one, which must be [DONE].</summary>
    public async Task<List<JsonElement>> StreamAsync(string path, string json)
    {
        var reply = await PostAsync(path, json);
        reply.Status.Should().Be(200, reply.Text);
        reply.Message.Content.Headers.ContentType!.MediaType.Should().Be("text/event-stream");
        var events = reply.Text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        events[^1].Should().Be("data: [DONE]");
        return [.. events[..^1].Select(e => JsonDocument.Parse(e["data: ".Length..]).RootElement)];
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await Server.DisposeAsync();
        model.Dispose();
    }
}

/// <summary>One server for the tests of a class that leave it as it is.</summary>
public sealed class SharedServer : IAsyncLifetime
{
    private readonly long before = LlamaRuntime.LiveHandles;

    internal ServerWorld World { get; private set; } = null!;

    public async Task InitializeAsync() => World = await ServerWorld.StartAsync();

    public async Task DisposeAsync()
    {
        World.Server.Engine.Statistics.Running.Should().Be(0, "no test may leave a request running");
        await World.DisposeAsync();
        LlamaRuntime.LiveHandles.Should().Be(before, "every native handle of the server must have been released");
    }
}

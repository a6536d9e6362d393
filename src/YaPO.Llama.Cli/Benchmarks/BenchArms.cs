using System.Text;
using System.Text.Json;
using YaPO.Llama.Batching;
using YaPO.Llama.Server;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Benchmarks;

/// <summary>One way to do the workload.</summary>
internal interface IBenchArm : IAsyncDisposable
{
    /// <summary>Does a round.</summary>
    Task RunAsync(int round, CancellationToken cancellation);
}

/// <summary>Plain batched decoding on llama.cpp's context: no slots, no queue, no vectors. What an engine is measured against.</summary>
internal sealed class PlainArm(BenchWorkload load) : IBenchArm
{
    private readonly LlamaContext context = new(load.Model, load.Context);
    private readonly DecodeBatch batch = new();

    public Task RunAsync(int round, CancellationToken cancellation) => Task.Run(() => Run(round, cancellation), CancellationToken.None);

    public ValueTask DisposeAsync()
    {
        context.Dispose();
        return ValueTask.CompletedTask;
    }

    private void Run(int round, CancellationToken cancellation)
    {
        context.Remove(-1, 0);
        var samplers = Enumerable.Range(0, load.Requests).Select(_ => new Sampler(load.Model, SamplerOptions.Greedy)).ToList();
        try
        {
            batch.Clear();
            var rows = new int[load.Requests];
            var position = 0;
            for (var r = 0; r < load.Requests; r++)
            {
                var prompt = load.Prompt(round, r);
                for (position = 0; position < prompt.Length; position++)
                {
                    rows[r] = batch.Add(prompt[position], position, r, output: position == prompt.Length - 1);
                }
            }

            context.Decode(batch, cancellation);
            for (var token = 1; ; token++, position++)
            {
                var ids = rows.Select((row, r) => samplers[r].Sample(context, row)).ToList();
                if (token == load.AnswerTokens)
                {
                    return;
                }

                batch.Clear();
                for (var r = 0; r < load.Requests; r++)
                {
                    rows[r] = batch.Add(ids[r], position, r, output: true);
                }

                context.Decode(batch, cancellation);
            }
        }
        finally
        {
            samplers.ForEach(s => s.Dispose());
        }
    }
}

/// <summary>The batch engine, called in this process.</summary>
internal sealed class EngineArm(BenchWorkload load, IReadOnlyList<AttachedVector> attached, Func<int, IReadOnlyList<SteeringSetting>> steering) : IBenchArm
{
    private readonly BatchEngine engine = new(load.Model, load.Engine, attached);

    public Task RunAsync(int round, CancellationToken cancellation) => Task.WhenAll(Enumerable.Range(0, load.Requests).Select(async r =>
    {
        var request = new BatchRequest { Prompt = PromptTokens.Raw(load.Model, load.Prompt(round, r)), Steering = steering(r), Generation = load.Generation };
        await foreach (var _ in engine.Submit(request).ReadAsync(cancellation).ConfigureAwait(false))
        {
        }
    }));

    public ValueTask DisposeAsync() => engine.DisposeAsync();
}

/// <summary>The server with as many streaming clients, over loopback sockets.</summary>
internal sealed class HttpArm(BenchWorkload load, LlamaServer server) : IBenchArm
{
    private readonly HttpClient http = new() { BaseAddress = server.Address, Timeout = Timeout.InfiniteTimeSpan };

    public static async Task<HttpArm> StartAsync(BenchWorkload load) => new(load, await LlamaServer.StartAsync(load.Model, new ServerOptions { ModelId = "bench", Port = 0, Engine = load.Engine }).ConfigureAwait(false));

    public Task RunAsync(int round, CancellationToken cancellation) => Task.WhenAll(Enumerable.Range(0, load.Requests).Select(async r =>
    {
        var body = JsonSerializer.Serialize(new { prompt = load.Prompt(round, r), max_tokens = load.AnswerTokens, temperature = 0, ignore_eos = true, stream = true });
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = new StringContent(body, Encoding.UTF8, "application/json") };
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation).ConfigureAwait(false);
        await response.EnsureSuccessStatusCode().Content.CopyToAsync(Stream.Null, cancellation).ConfigureAwait(false);
    }));

    public async ValueTask DisposeAsync()
    {
        http.Dispose();
        await server.DisposeAsync().ConfigureAwait(false);
    }
}

using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using YaPO.Llama.Batching;
using YaPO.Llama.Models;
using YaPO.Llama.Server.Api;
using YaPO.Llama.Server.Http;
using YaPO.Llama.Server.Vectors;

namespace YaPO.Llama.Server;

/// <summary>
/// An OpenAI-compatible server over a <see cref="BatchEngine"/>: chat and text completions, streamed or not, each request with its own steering out of an
/// allow-list of vectors.
/// </summary>
public sealed class LlamaServer : IAsyncDisposable
{
    private readonly WebApplication app;
    private readonly PromptEncoder encoder;
    private Routes? routes;
    private volatile bool draining;

    private LlamaServer(WebApplication app, BatchEngine engine, PromptEncoder encoder) => (this.app, Engine, this.encoder) = (app, engine, encoder);

    /// <summary>Where it listens.</summary>
    public Uri Address { get; private set; } = null!;

    /// <summary>Whether only this machine can reach it.</summary>
    public bool IsLoopback { get; private init; }

    /// <summary>What answers.</summary>
    public BatchEngine Engine { get; }

    /// <summary>Attaches the vectors and listens.</summary>
    /// <param name="model">Stays the caller's, and in use until the server is stopped.</param>
    /// <param name="options">What to serve.</param>
    /// <param name="logs">Where failures are logged; null: nowhere.</param>
    /// <param name="cancellation">Stops the start.</param>
    /// <exception cref="YapoException">A vector or a size that does not fit, an address that cannot be used.</exception>
    public static async Task<LlamaServer> StartAsync(LlamaModel model, ServerOptions options, ILoggerFactory? logs = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        logs ??= NullLoggerFactory.Instance;
        var vectors = new VectorCatalog(options);
        var address = Resolve(options.Host);
        var encoder = new PromptEncoder(model.Path);
        BatchEngine? engine = null;
        WebApplication? app = null;
        Routes? routes = null;
        try
        {
            engine = new BatchEngine(model, options.Engine, [.. vectors.Vectors.SelectMany(v => v.Settings).Select(s => s.Vector)]);
            app = Host(address, options);
            var server = new LlamaServer(app, engine, encoder) { IsLoopback = IPAddress.IsLoopback(address) };
            var metrics = new ServerMetrics(engine);
            app.Use(next => http => new ErrorHandling(new Access(options, server.IsLoopback), metrics, logs.CreateLogger("server")).InvokeAsync(http, next));
            app.UseRouting();
            server.routes = routes = new Routes(options, engine, encoder, vectors, metrics, () => server.draining);
            server.routes.Map(app);
            await app.StartAsync(cancellation).ConfigureAwait(false);
            server.Address = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single());
            return server;
        }
        catch (Exception e)
        {
            if (app is not null)
            {
                await app.DisposeAsync().ConfigureAwait(false);
            }

            if (engine is not null)
            {
                await engine.DisposeAsync().ConfigureAwait(false);
            }

            routes?.Dispose();
            encoder.Dispose();
            throw e is IOException or System.Net.Sockets.SocketException
                ? new YapoException(YapoErrorKind.Io, $"cannot listen on {options.Host} port {options.Port}: {e.Message} --port 0 takes a free one", e)
                : e;
        }
    }

    /// <summary>
    /// Takes no more requests, lets the running ones finish within <paramref name="grace"/>, cuts off the rest, closes the sockets.
    /// </summary>
    /// <returns>Whether every running request could finish.</returns>
    public async Task<bool> StopAsync(TimeSpan grace)
    {
        draining = true;
        var finished = await Engine.StopAsync(grace).ConfigureAwait(false);
        using var closing = new CancellationTokenSource(TimeSpan.FromSeconds(2)); // for what was generated to reach the clients
        await app.StopAsync(closing.Token).ConfigureAwait(false);
        return finished;
    }

    /// <summary>Stops without grace.</summary>
    public async ValueTask DisposeAsync()
    {
        await StopAsync(TimeSpan.Zero).ConfigureAwait(false);
        await app.DisposeAsync().ConfigureAwait(false);
        routes?.Dispose();
        encoder.Dispose();
    }

    private static WebApplication Host(IPAddress address, ServerOptions options)
    {
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { Args = [], ContentRootPath = AppContext.BaseDirectory });
        builder.Configuration.Sources.Clear(); // neither files nor the environment decide where this listens
        builder.Services.AddSingleton<ILoggerFactory>(NullLoggerFactory.Instance); // what matters of its failures comes as exceptions
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.WebHost.UseKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = options.BodyLimit;
            kestrel.Limits.MaxConcurrentConnections = 1024;
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(15);
            kestrel.Listen(address, options.Port);
        });
        return builder.Build();
    }

    private static IPAddress Resolve(string host)
    {
        if (IPAddress.TryParse(host, out var address))
        {
            return address;
        }

        try
        {
            return host.Equals("localhost", StringComparison.OrdinalIgnoreCase) ? IPAddress.Loopback : Dns.GetHostAddresses(host).First();
        }
        catch (Exception e) when (e is System.Net.Sockets.SocketException or ArgumentException or InvalidOperationException)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"host '{host}' is no address of this machine: {e.Message}", e);
        }
    }

    /// <summary>Ctrl+C and termination belong to the program, not to the host.</summary>
    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}

using System.Net;
using System.Net.Sockets;
using YaPO.Llama.Models;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Server;

/// <summary>A server that cannot start leaves nothing behind.</summary>
public sealed class StartTests : NativeTest
{
    [Fact]
    public async Task Start_PortInUse_ReleasesEverythingAndSaysWhere()
    {
        using var folder = new TemporaryFolder();
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;

        // A model that gives embeddings has a second context.
        var start = () => ServerWorld.StartAsync(o => o with { Port = port }, PooledDemo.Write(1, folder.File("pooled.gguf")));

        (await start.Should().ThrowAsync<YapoException>()).WithMessage($"*127.0.0.1 port {port}*");
    }

    [Fact]
    public async Task Start_Cancelled_ReleasesEverything()
    {
        using var model = LlamaModel.Load(Path.Combine(Repository.Root, "models", "demo", "demo-f16.gguf"));
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();

        var start = () => YaPO.Llama.Server.LlamaServer.StartAsync(model, new YaPO.Llama.Server.ServerOptions { ModelId = "demo", Port = 0 }, null, cancelled.Token);

        await start.Should().ThrowAsync<OperationCanceledException>();
    }
}

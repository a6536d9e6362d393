using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>rpc-server</c>: lends this machine's devices to the <c>--rpc</c> of another, over llama.cpp's RPC protocol.</summary>
internal static class RpcServerCommand
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    internal sealed record Options(IPAddress Host, int Port, string? Device, int Threads);

    public static Command Build(CommandConsole console)
    {
        var host = new Option<string>("--host") { Description = "IPv4 address to listen on. Any other than a loopback address opens this process to the network: the protocol has no authentication.", DefaultValueFactory = _ => "127.0.0.1", HelpName = "ADDRESS" };
        host.Validators.Add(result =>
        {
            var given = result.GetValueOrDefault<string>();
            if (!IPAddress.TryParse(given, out var address) || address.AddressFamily != AddressFamily.InterNetwork)
            {
                result.AddError($"--host '{given}' is no IPv4 address");
            }
        });
        var port = new Option<int>("--port") { Description = "Port; 0: any free one (printed on stdout).", DefaultValueFactory = _ => 50052, HelpName = "N" }.Within(0, 65535);
        var device = new Option<string?>("--device") { Description = "Device to lend, as 'yapo-llama doctor' lists them (default: the GPUs, else the CPU).", HelpName = "NAME" };
        var threads = new Option<int>("--threads") { Description = "CPU threads. 0: all.", DefaultValueFactory = _ => 0, HelpName = "N" }.Within(0, 512);
        var command = new Command("rpc-server", "Lend this machine's devices to 'yapo-llama --rpc' on another: blocks of its model, their steering included, run here. One client at a time; ends with Ctrl+C.") { host, port, device, threads };
        return command.Handle(
            console,
            parsed => new Options(IPAddress.Parse(parsed.GetValue(host)!), parsed.GetValue(port), parsed.GetValue(device), parsed.GetValue(threads)),
            HandleAsync);
    }

    internal static async Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        var address = new IPEndPoint(options.Host, options.Port == 0 ? FreePort(options.Host) : options.Port);
        if (IPAddress.IsLoopback(options.Host))
        {
            console.Note("the RPC protocol has no authentication and no encryption: every user of this machine can reach this process");
        }
        else
        {
            console.WriteErrorLine($"warning: {address} IS OPEN TO THE NETWORK WITHOUT AUTHENTICATION OR ENCRYPTION. Whoever reaches it can read and write the memory of this process. "
                + "Listen on 127.0.0.1 and use an SSH tunnel (ssh -L), unless this network is yours alone."); // also with --quiet
        }

        if (IsListening(address))
        {
            throw new YapoException(YapoErrorKind.Io, $"{address} is taken by another program; give another --port, or 0 for any free one");
        }

        console.RouteNativeLog();
        var served = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() =>
        {
            try
            {
                LlamaRuntime.ServeRpc(address.Address.ToString(), address.Port, options.Device, options.Threads);
            }
            catch (YapoException e)
            {
                served.SetException(e);
            }
        })
        { IsBackground = true, Name = "rpc-server" }.Start(); // native code that cannot be stopped: it ends with the process

        var stopped = Task.Delay(Timeout.Infinite, cancellation);
        await Task.WhenAny(served.Task, stopped, ListeningAsync(address, cancellation)).ConfigureAwait(false);
        if (!served.Task.IsCompleted && !cancellation.IsCancellationRequested)
        {
            console.WriteDataLine(string.Create(CultureInfo.InvariantCulture, $"listening on {address}"));
            console.Flush();
            await Task.WhenAny(served.Task, stopped).ConfigureAwait(false);
        }

        if (served.Task.IsCompleted)
        {
            await served.Task.ConfigureAwait(false); // throws what ended it
        }

        return ExitCodes.Success;
    }

    private static int FreePort(IPAddress host)
    {
        try
        {
            using var listener = new TcpListener(host, 0);
            listener.Start();
            return ((IPEndPoint)listener.LocalEndpoint).Port;
        }
        catch (SocketException e)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot listen on {host}: {e.Message}", e);
        }
    }

    private static bool IsListening(IPEndPoint address) => IPGlobalProperties.GetIPGlobalProperties().GetActiveTcpListeners().Contains(address);

    // Asked of the system: the server cannot say so, and a trial connection would take its one place.
    private static async Task ListeningAsync(IPEndPoint address, CancellationToken cancellation)
    {
        var start = Stopwatch.GetTimestamp(); // not the time of day, which can be set while we wait
        while (!IsListening(address) && Stopwatch.GetElapsedTime(start) < Patience && !cancellation.IsCancellationRequested)
        {
            await Task.Delay(10, CancellationToken.None).ConfigureAwait(false);
        }
    }
}

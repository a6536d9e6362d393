using YaPO.Llama.Models;
using YaPO.Llama.Tests.Native;

namespace YaPO.Llama.Tests.Cli;

/// <summary>
/// A device whose memory is not the host's, as the command line names it: an RPC server in a second process, which every machine has; a GPU of the build under test;
/// the devices of <see cref="PublishedBackend"/>, where they can be had.
/// </summary>
internal sealed class OtherDevice : IDisposable
{
    private const string Rpc = "RPC0";

    private readonly RpcServer? _server;
    private readonly string _folder;

    public OtherDevice(string name, string folder)
    {
        Name = name;
        _folder = folder;
        _server = name == Rpc ? new RpcServer(folder) : null;
    }

    /// <summary>The names of all there are.</summary>
    public static TheoryData<string> Names => [.. new[] { Rpc }.Concat(OfTheBuild).Concat(PublishedBackend.Here.Select(backend => backend.Device)).Distinct()];

    /// <summary>Those without Mesa's driver for the processor.</summary>
    public static TheoryData<string> NamesBesidesMesa =>
    [
        .. new[] { Rpc }
            .Concat(LlamaRuntime.Devices().Where(IsGpu).Where(d => !d.Description.Contains("llvmpipe", StringComparison.Ordinal)).Select(d => d.Name))
            .Concat(PublishedBackend.Cuda.Missing is null ? [PublishedBackend.Cuda.Device] : []).Distinct(),
    ];

    /// <summary>What <c>--device</c> takes.</summary>
    public string Name { get; }

    /// <summary>It computes with the code of the CPU backend.</summary>
    public bool SameCode => _server is not null;

    /// <summary>
    /// How far it may be from the CPU: nats of a log-probability; activations and vectors relative to the largest. An RPC server runs the same code; the products of Vulkan and CUDA round to F16
    /// (as in tests/native/other_device.cpp).
    /// </summary>
    public double Tolerance => SameCode ? 1e-4 : 5e-3;

    /// <summary>How a command is told to compute there, by its name.</summary>
    public string[] Arguments => [.. Found, "--device", Name];

    /// <summary>What makes a command find it, by its own choice.</summary>
    public string[] Found => _server is null ? [] : ["--rpc", _server.Address];

    private static IEnumerable<string> OfTheBuild => LlamaRuntime.Devices().Where(IsGpu).Select(d => d.Name);

    private static bool IsGpu(DeviceInfo device) => device.Type is "gpu" or "igpu";

    /// <summary>Runs a command that can find it.</summary>
    public CliRun Run(string input, params string[] args) =>
        _server is null && !OfTheBuild.Contains(Name)
            ? CliProcess.Run(_folder, input, PublishedBackend.Here.Single(backend => backend.Device == Name).Environment, args)
            : CliProcess.Run(_folder, input, args);

    public void Dispose() => _server?.Dispose();
}

using YaPO.Llama.Models;
using YaPO.Llama.Tests.Cli;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.Tests.Training;

/// <summary>The contract on a ggml device, in plain operations: the CPU backend as one.</summary>
public sealed class DevicePairEngineContractTests() : PairEngineContract(new GgmlPairEngineFactory("CPU"));

/// <summary>What every method promises, with gradients computed there.</summary>
public sealed class DeviceSteeringContractTests() : SteeringContract(new GgmlPairEngineFactory("CPU"));

/// <summary>The contract on a device whose memory is not this process's: a server in a second one.</summary>
public sealed class RpcPairEngineContractTests(RpcPairEngines engines) : PairEngineContract(engines.Factory), IClassFixture<RpcPairEngines>;

/// <summary>A server on loopback, and the engines on its device.</summary>
public sealed class RpcPairEngines : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("yapo-rpc-").FullName;
    private readonly RpcServer _server;

    public RpcPairEngines()
    {
        _server = new RpcServer(_folder);
        // Servers are numbered as a process meets them.
        Factory = new GgmlPairEngineFactory(LlamaRuntime.RpcDevices(_server.Address).Single().Name.ToLowerInvariant(), _server.Address);
    }

    public GgmlPairEngineFactory Factory { get; }

    public void Dispose()
    {
        _server.Dispose();
        Directory.Delete(_folder, recursive: true);
    }
}

/// <summary>The same sequences and vectors on both sides: what the device computes is what the fused kernels compute.</summary>
public sealed class DeviceEngineAgreementTests(RpcPairEngines engines) : IClassFixture<RpcPairEngines>
{
    public static TheoryData<string, string> Cases() => PairEngineContract.Cases();

    [Theory]
    [MemberData(nameof(Cases))]
    public void DeviceEngine_LossAndGradient_AgreeWithTheFusedEngine(string variant, string kind)
    {
        using var world = new UpperWorld(variant);
        using var fused = world.Create(GgmlPairEngineFactory.Instance);
        using var device = world.Create(engines.Factory);
        var (latents, v) = UpperWorld.Vector(kind);
        fused.SetLatents(latents);
        device.SetLatents(latents);
        var (wanted, found) = (new float[v.Length], new float[v.Length]);

        var expected = fused.LogProbGradient(0, 0, v, 1, 1, wanted);
        var got = device.LogProbGradient(0, 0, v, 1, 1, found);

        got.Should().BeApproximately(expected, 2e-6 * Math.Abs(expected));
        var error = Math.Sqrt(found.Zip(wanted, (f, w) => ((double)f - w) * ((double)f - w)).Sum() / wanted.Sum(w => (double)w * w));
        error.Should().BeLessThan(1e-5);
    }

    [Fact]
    public void Factory_SaysWhereItComputes_AndRefusesWhatIsNotThere()
    {
        var name = engines.Factory.Device!.Name;
        name.Should().StartWith("RPC");
        engines.Factory.Name.Should().Be($"yapo-ggml/1 {name}");
        engines.Factory.Place.Should().StartWith($"{name} (");
        engines.Factory.WorkersFor(8).Should().Be(1);
        engines.Factory.Device.MemoryTotal.Should().BePositive();
        GgmlPairEngineFactory.Instance.Device.Should().BeNull();
        FluentActions.Invoking(() => new GgmlPairEngineFactory("CUDA7")).Should().Throw<YapoException>().WithMessage("there is no device \"CUDA7\"; this build and machine have: CPU*");
        FluentActions.Invoking(() => new GgmlPairEngineFactory(name, "127.0.0.1:1")).Should().Throw<YapoException>().WithMessage("*does not answer*");
    }
}

using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using YaPO.Llama.Cli.Errors;
using YaPO.Llama.Cli.Machine;
using YaPO.Llama.Cli.Options;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Commands;

/// <summary><c>doctor</c>: whether this installation can work, on what, and what to fix.</summary>
internal static class DoctorCommand
{
    internal sealed record Options(string? Model, DoctorPlan.Options? Plan, EngineSettings Engine, bool Json);

    /// <summary>One thing looked at. <paramref name="Fix"/> says what to do when it is not well.</summary>
    internal sealed record Check(string Name, bool Ok, string Detail, string? Fix = null);

    public static Command Build(CommandConsole console)
    {
        var model = new Option<string?>("--model", "-m") { Description = "Also load this GGUF and try to steer each of its blocks (default: none).", HelpName = "FILE" };
        var plan = new Option<string?>("--plan") { Description = "Only say what of this GGUF fits on devices of 4, 6 and 8 GiB, from what llama.cpp would allocate (default: no plan).", HelpName = "FILE" };
        var vectors = new Option<string[]>("--vector") { Description = "With --plan: also this vector, repeatable (default: none).", HelpName = "SPEC", DefaultValueFactory = _ => [] };
        var sae = new Option<string?>("--sae") { Description = "With --plan: also the read-out of this SAE (default: none).", HelpName = "FILE" };
        var reserve = SingleOptions.Number("--reserve", "With --plan: memory of a device that its driver and a display keep.", 512, 0, 1 << 20, "MIB");
        var engine = new EngineOptions();
        var json = SingleOptions.Json();
        var command = new Command("doctor", "Check the native library, backends, devices and what can be steered, and say what to fix; or plan what fits on a device.") { model, plan, vectors, sae, reserve };
        engine.AddTo(command);
        command.Options.Add(json);
        return command.Handle(
            console,
            parsed =>
            {
                var settings = engine.Read(parsed);
                var planned = parsed.GetValue(plan) is { } file ? new DoctorPlan.Options(file, parsed.GetValue(vectors)!, parsed.GetValue(sae), parsed.GetValue(reserve), settings) : null;
                return new Options(parsed.GetValue(model), planned, settings, parsed.GetValue(json));
            },
            HandleAsync);
    }

    internal static Task<int> HandleAsync(Options options, CommandConsole console, CancellationToken cancellation)
    {
        if (options.Plan is { } asked)
        {
            console.RouteNativeLog();
            DoctorPlan.Show(console, DoctorPlan.Run(asked, cancellation), options.Json);
            return Task.FromResult(ExitCodes.Success);
        }

        var checks = new List<Check>();
        var build = CheckLibrary(checks);
        List<DeviceInfo> devices = build is null ? [] : [.. LlamaRuntime.Devices()];
        if (build is not null)
        {
            checks.Add(new Check("devices", devices.Count > 0, $"{devices.Count} found", "the build has no backend at all; build it again"));
            CheckServers(checks, devices, options.Engine.Rpc);
        }

        CheckMachine(checks, options.Engine.Threads);
        checks.AddRange(UnusedAccelerators.Find(build).Select(unused => new Check(unused.Device, true, unused.Advice)));
        checks.AddRange(VulkanDrivers.Find(build, devices).Select(remark => new Check(remark.Subject, true, remark.Detail)));
        if (options.Model is { } model && build is not null)
        {
            checks.Add(CheckModel(InputFile.Require(model), options.Engine, console, cancellation));
        }

        if (options.Json)
        {
            console.WriteJson(new { Ok = checks.All(c => c.Ok), Build = build, Library = LlamaRuntime.LibraryPath, Devices = devices, Checks = checks });
        }
        else
        {
            Show(console, build, devices, checks);
        }

        return Task.FromResult(checks.All(c => c.Ok) ? ExitCodes.Success : ExitCodes.Failed);
    }

    private static JsonElement? CheckLibrary(List<Check> checks)
    {
        try
        {
            using var document = JsonDocument.Parse(LlamaRuntime.BuildInfo);
            checks.Add(new Check("native library", true, LlamaRuntime.LibraryPath ?? "loaded"));
            return document.RootElement.Clone();
        }
        catch (YapoException e)
        {
            checks.Add(new Check("native library", false, e.Message, "build it with 'dotnet build -c Release', or point YAPO_NATIVE_DIR to the folder of libyapo"));
            return null;
        }
    }

    private static void CheckServers(List<Check> checks, List<DeviceInfo> devices, string? servers)
    {
        foreach (var server in servers?.Split(',') ?? [])
        {
            try
            {
                var found = LlamaRuntime.RpcDevices(server);
                devices.AddRange(found);
                checks.Add(new Check($"RPC server {server}", true, $"answers, with {found.Count} {(found.Count == 1 ? "device" : "devices")}"));
            }
            catch (YapoException e)
            {
                checks.Add(new Check($"RPC server {server}", false, e.Message, "start 'yapo-llama rpc-server' there, of the same version as this one"));
            }
        }
    }

    private static void CheckMachine(List<Check> checks, int threads)
    {
        var load = MachineLoad.Average();
        var warning = MachineLoad.Warning(load, Environment.ProcessorCount, threads);
        checks.Add(new Check(
            "processor",
            true, // busy is worth saying, not a failure
            $"{Environment.ProcessorCount} cores, {RuntimeInformation.ProcessArchitecture}, {Sizes.Text(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes)} of memory"
                + (warning is null ? "" : $"; {warning}")));
        checks.Add(new Check("runtime", true, $"{RuntimeInformation.FrameworkDescription} on {RuntimeInformation.OSDescription}"));
    }

    // Attaches a zero vector to each block in turn: the graph is built with the hook or the attachment is refused.
    private static Check CheckModel(string path, EngineSettings engine, CommandConsole console, CancellationToken cancellation)
    {
        using var model = console.LoadModel(path, engine.ModelOptions, cancellation);
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = 64, BatchSize = 32, Threads = engine.Threads });
        var refused = new List<string>();
        for (var layer = 0; layer < model.Info.LayerCount; layer++)
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                context.SetVectors([AttachedVector.Dense("probe", layer, new float[model.Info.ModelWidth])]);
            }
            catch (YapoException e)
            {
                refused.Add($"layer {layer}: {e.Message}");
            }
        }

        var steerable = model.Info.LayerCount - refused.Count;
        return new Check(
            $"hook coverage of {path}",
            refused.Count == 0,
            $"{steerable} of {model.Info.LayerCount} blocks of this {model.Info.Architecture} model can be steered{(refused.Count > 0 ? $"; {refused[0]}" : "")}",
            "choose a layer that can be steered, or another architecture");
    }

    private static void Show(CommandConsole console, JsonElement? build, List<DeviceInfo> devices, List<Check> checks)
    {
        if (build is { } info)
        {
            console.WriteList(info.EnumerateObject().Select(p => (p.Name, (string?)(p.Value.ValueKind == JsonValueKind.String ? p.Value.GetString() : p.Value.GetRawText()))));
            console.Out.WriteLine();
        }

        if (devices.Count > 0)
        {
            console.WriteTable(
                ["device", "type", "memory free", "memory", "description"],
                devices.Select(d => (IReadOnlyList<string>)[d.Name, d.Type, Sizes.Text(d.MemoryFree), Sizes.Text(d.MemoryTotal), d.Description]));
            console.Out.WriteLine();
        }

        foreach (var check in checks)
        {
            console.Out.WriteLine($"{(check.Ok ? "ok  " : "FAIL")}  {check.Name}: {check.Detail}");
            if (!check.Ok && check.Fix is not null)
            {
                console.Out.WriteLine($"      fix: {check.Fix}");
            }
        }
    }
}

using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Machine;

/// <summary>Bytes that a model needs where its blocks are, for one context length.</summary>
/// <param name="Context">Tokens.</param>
/// <param name="Model">Weights.</param>
/// <param name="Cache">Keys and values.</param>
/// <param name="Compute">Intermediate results of a batch of <see cref="MemoryPlan.Batch"/> tokens.</param>
/// <param name="Vectors">Attached vectors, with what they add to the intermediate results.</param>
/// <param name="Readout">The SAE and what reading its latents out adds.</param>
internal sealed record MemoryNeed(int Context, long Model, long Cache, long Compute, long Vectors, long Readout)
{
    public long Total => Model + Cache + Compute + Vectors + Readout;
}

/// <summary>What fits on a device.</summary>
/// <param name="DeviceBytes">Its memory.</param>
/// <param name="Blocks">Blocks that fit at the context asked for; all of them where that is the model's number.</param>
/// <param name="LargestContext">Tokens of context with every block on the device; 0: not even the least fits.</param>
internal sealed record DeviceFit(long DeviceBytes, int Blocks, int LargestContext);

/// <summary>The answer of <c>doctor --plan</c>.</summary>
internal sealed record MemoryPlanResult(string Model, string Description, int Layers, int TrainingContext, int Context, int Batch, long Reserve, IReadOnlyList<MemoryNeed> Needs, IReadOnlyList<DeviceFit> Devices);

/// <summary>
/// Works out what fits, from what llama.cpp says it would allocate: the model is opened without its weights, contexts of it reserve their buffers in numbers
/// only, and the vectors and the SAE are attached to one of them.
/// </summary>
internal sealed class MemoryPlan : IDisposable
{
    /// <summary>Most tokens computed at once.</summary>
    public const int Batch = 512;

    private const int LeastContext = 256;

    private readonly LlamaModel _model;
    private readonly IReadOnlyList<AttachedVector> _vectors;
    private readonly SaeFile? _sae;
    private readonly Dictionary<int, MemoryNeed> _needs = [];
    private readonly long[] _blocks;
    private readonly long _hostOnly; // an embedding table beside a head of its own: llama.cpp keeps it with the processor

    public MemoryPlan(string model, ModelOptions options, IReadOnlyList<AttachedVector> vectors, SaeFile? sae, CancellationToken cancellation)
    {
        _model = LlamaModel.Load(model, options with { SizesOnly = true }, cancellation: cancellation);
        (_vectors, _sae) = (vectors, sae);
        using var file = GgufFile.Open(model);
        long Weights(string prefix) => file.Tensors.Where(t => t.Name.StartsWith(prefix, StringComparison.Ordinal)).Sum(t => t.Bytes);
        _blocks = [.. Enumerable.Range(0, _model.Info.LayerCount).Select(layer => Weights(FormattableString.Invariant($"blk.{layer}.")))];
        _hostOnly = Weights("output.weight") > 0 ? Weights("token_embd.weight") : 0;
    }

    /// <param name="context">Tokens; null: a quarter of what the model was trained with, at most 4096.</param>
    /// <param name="devices">Their memory in bytes.</param>
    /// <param name="reserve">Bytes of each that the driver and the display keep.</param>
    /// <param name="cancellation">Between two contexts.</param>
    public MemoryPlanResult Run(int? context, IReadOnlyList<long> devices, long reserve, CancellationToken cancellation)
    {
        var most = Math.Max(LeastContext, _model.Info.TrainingContext);
        var wanted = context ?? Math.Clamp(most / 4, Math.Min(LeastContext, most), 4096);
        var fits = devices.Select(bytes => new DeviceFit(bytes, Blocks(wanted, bytes - reserve), Largest(bytes - reserve, most, cancellation))).ToList();
        int[] shown = [wanted, .. fits.Select(f => f.LargestContext).Where(c => c > 0)];
        return new MemoryPlanResult(_model.Path, Describe(_model.Info), _model.Info.LayerCount, _model.Info.TrainingContext, wanted, Batch, reserve, [.. shown.Distinct().Order().Select(Need)], fits);
    }

    public void Dispose() => _model.Dispose();

    // llama.cpp knows the names of the usual sizes only and writes "?B" for the others.
    private static string Describe(ModelInfo info) => info.Description.Replace("?B", $"{Sizes.Count(info.ParameterCount)} parameters,", StringComparison.Ordinal);

    /// <summary>Measured once for each length.</summary>
    internal MemoryNeed Need(int context)
    {
        if (_needs.TryGetValue(context, out var known))
        {
            return known;
        }

        using var plain = new LlamaContext(_model, new ContextOptions { ContextSize = context, BatchSize = Math.Min(context, Batch) });
        var before = OnDevice(plain.Memory);
        long vectors = 0, readout = 0;
        if (_vectors.Count > 0)
        {
            plain.SetVectors(_vectors);
            vectors = plain.Statistics.SteeringBytes + OnDevice(plain.Memory).Compute - before.Compute;
        }

        if (_sae is not null)
        {
            var without = OnDevice(plain.Memory).Compute;
            plain.SetReadout(new SaeReadout(_sae, Math.Min(8, _sae.Info.Width)));
            var shared = _vectors.Any(v => ReferenceEquals(v.Sae, _sae)) ? 0 : SaeBytes(_sae);
            readout = shared + OnDevice(plain.Memory).Compute - without;
        }

        return _needs[context] = before with { Context = context, Vectors = vectors, Readout = readout };
    }

    // F32 encoder rows, biases and thresholds; the decoder is not on the device for reading out.
    private static long SaeBytes(SaeFile sae) => sizeof(float) * (long)sae.Info.Width * (sae.Info.DModel + 2);

    // Where a device other than the host holds blocks, that one; else the processor's memory stands for it.
    private MemoryNeed OnDevice(IReadOnlyList<MemoryUse> uses)
    {
        var apart = uses.Where(u => !u.IsHost && u.Model > 0).Select(u => u.Buffer).ToHashSet();
        var counted = uses.Where(u => apart.Count == 0 || apart.Contains(u.Buffer)).ToList();
        return new MemoryNeed(0, counted.Sum(u => u.Model) - (apart.Count == 0 ? _hostOnly : 0), counted.Sum(u => u.Context), counted.Sum(u => u.Compute), 0, 0);
    }

    // The last block and the output first, as --gpu-layers counts them.
    private int Blocks(int context, long budget)
    {
        var need = Need(context);
        if (need.Total <= budget)
        {
            return _model.Info.LayerCount;
        }

        var left = budget - (need.Total - need.Cache - _blocks.Sum());
        var blocks = 0;
        for (; blocks < _blocks.Length; blocks++)
        {
            left -= _blocks[_blocks.Length - 1 - blocks] + (need.Cache / _blocks.Length);
            if (left < 0)
            {
                break;
            }
        }

        return blocks;
    }

    private int Largest(long budget, int most, CancellationToken cancellation)
    {
        int least = Math.Min(LeastContext, most), low = 0, high = most / LeastContext;
        if (Need(most).Total <= budget)
        {
            return most;
        }

        while (low < high - 1) // in steps of LeastContext
        {
            cancellation.ThrowIfCancellationRequested();
            var middle = (low + high) / 2;
            (low, high) = Need(middle * LeastContext).Total <= budget ? (middle, high) : (low, middle);
        }

        return low > 0 ? low * LeastContext : Need(least).Total <= budget ? least : 0;
    }
}

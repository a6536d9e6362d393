using System.Runtime.InteropServices;
using YaPO.Llama.Interop;
using YaPO.Llama.Training.Features;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Training.Vectors;

/// <summary>
/// <see cref="IPairEngine"/> over libyapo's upper-block trainer: residuals captured by llama.cpp, blocks above the steered one and the head
/// computed by our own ggml graph on the weights of the GGUF as they are: where the file has them, with fused CPU kernels, or on a ggml device, in plain ops.
/// </summary>
public sealed unsafe class GgmlPairEngine : IPairEngine
{
    /// <summary>What vectors record.</summary>
    public const string EngineName = "yapo-ggml/1";

    private readonly string? _device;
    private readonly UpperHandle _upper;
    private readonly UpperWorkerHandle[] _workers;
    private readonly IReadOnlyList<EncodedSequence> _sequences;
    private readonly float[][] _weights;
    private readonly ResidualStore _residuals;
    private readonly LatentCodes? _codes;
    private readonly long[] _firstRow;
    private int _parameters;

    /// <summary>Loads the upper blocks.</summary>
    /// <param name="gguf">The model file.</param>
    /// <param name="layer">The steered block; the lowest of several.</param>
    /// <param name="sequences">Token sequences.</param>
    /// <param name="weights">Position weights [T] of each sequence.</param>
    /// <param name="residuals">Residuals after the block, sequence after sequence; not owned.</param>
    /// <param name="workers">Threads.</param>
    /// <param name="codes">Active latents of the residuals, for sparse vectors; not owned. Null: computed at every call, from the encoder rows of the latents.</param>
    /// <param name="device">A device of this build or of the servers, which gets a copy of the weights and computes; null: the CPU, on the file's own pages.</param>
    /// <param name="rpc">RPC servers, <c>host:port,host:port</c>; null: none.</param>
    /// <exception cref="YapoException">The model cannot be trained through, or there is no such device, or no room on it.</exception>
    public GgmlPairEngine(
        string gguf, int layer, IReadOnlyList<EncodedSequence> sequences, float[][] weights, ResidualStore residuals, int workers, LatentCodes? codes = null, string? device = null, string? rpc = null)
    {
        (_sequences, _weights, _residuals, _codes, _device) = (sequences, weights, residuals, codes, device);
        _firstRow = new long[sequences.Count];
        for (var i = 1; i < sequences.Count; i++)
        {
            _firstRow[i] = _firstRow[i - 1] + sequences[i - 1].Tokens.Length;
        }

        NativeMethods.yapo_upper_load(gguf, layer, out _upper, out var error).Check(error);
        _workers = new UpperWorkerHandle[workers];
        try
        {
            if (device is not null)
            {
                NativeMethods.yapo_upper_place(_upper, device, rpc, out error).Check(error);
            }

            for (var i = 0; i < workers; i++)
            {
                NativeMethods.yapo_upper_worker_create(_upper, out _workers[i], out error).Check(error);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public string Name => NameOn(_device);

    /// <inheritdoc/>
    public int Workers => _workers.Length;

    /// <summary>What vectors record of an engine on a device: another arithmetic would not go on to the same result.</summary>
    internal static string NameOn(string? device) => device is null ? EngineName : $"{EngineName} {device}";

    /// <inheritdoc/>
    public void SetLatents(LatentSet latents)
    {
        _parameters = latents.Parameters;
        var pins = new List<GCHandle>();
        try
        {
            T* Pin<T>(T[] values) where T : unmanaged
            {
                pins.Add(GCHandle.Alloc(values, GCHandleType.Pinned));
                return values.Length > 0 ? (T*)pins[^1].AddrOfPinnedObject() : null;
            }

            var native = latents.Blocks.Select(b => new yapo_latents
            {
                struct_size = (uint)sizeof(yapo_latents),
                kind = (int)(b.Rows.IsDense ? yapo_vector_kind.YAPO_VECTOR_DENSE : yapo_vector_kind.YAPO_VECTOR_SPARSE),
                layer = b.Layer,
                f = b.Rows.Index.Length,
                d_model = b.Rows.ModelWidth,
                index = Pin(b.Rows.Index),
                enc = Pin(b.Rows.Enc),
                enc_bias = Pin(b.Rows.EncBias),
                threshold = Pin(b.Rows.Threshold),
                dec = Pin(b.Rows.Dec),
            }).ToArray();
            NativeMethods.yapo_upper_set_latents(_upper, native, native.Length, out var error).Check(error);
        }
        finally
        {
            pins.ForEach(p => p.Free());
        }
    }

    /// <inheritdoc/>
    public double LogProb(int worker, int sequence, ReadOnlySpan<float> v, double multiplier)
    {
        Expect(v);
        fixed (int* tokens = _sequences[sequence].Tokens)
        fixed (float* residual = Residual(sequence))
        fixed (float* weight = _weights[sequence])
        {
            var native = Native(sequence, tokens, residual, weight);
            NativeMethods.yapo_upper_logprob(_workers[worker], native, v, (float)multiplier, out var logprob, out var error).Check(error);
            return logprob;
        }
    }

    /// <inheritdoc/>
    public double LogProbGradient(int worker, int sequence, ReadOnlySpan<float> v, double multiplier, double scale, Span<float> gradient)
    {
        Expect(v);
        if (gradient.Length != _parameters)
        {
            throw new ArgumentException($"the gradient has {gradient.Length} entries, expected {_parameters}", nameof(gradient));
        }

        fixed (int* tokens = _sequences[sequence].Tokens)
        fixed (float* residual = Residual(sequence))
        fixed (float* weight = _weights[sequence])
        {
            var native = Native(sequence, tokens, residual, weight);
            NativeMethods.yapo_upper_logprob_gradient(_workers[worker], native, v, (float)multiplier, scale, gradient, out var logprob, out var error).Check(error);
            return logprob;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var worker in _workers)
        {
            worker?.Dispose();
        }

        _upper.Dispose();
    }

    private Span<float> Residual(int sequence) => _residuals.Slice(_firstRow[sequence], _sequences[sequence].Tokens.Length);

    private void Expect(ReadOnlySpan<float> v)
    {
        if (v.Length != 0 && v.Length != _parameters)
        {
            throw new ArgumentException($"v has {v.Length} entries, expected {_parameters}", nameof(v));
        }
    }

    private yapo_sequence Native(int sequence, int* tokens, float* residual, float* weight)
    {
        var (start, latent, value) = _codes?.Of(sequence, _sequences[sequence].Tokens.Length) ?? default;
        return new()
        {
            struct_size = (uint)sizeof(yapo_sequence),
            n_tokens = _sequences[sequence].Tokens.Length,
            tokens = tokens,
            residual = residual,
            completion_start = _sequences[sequence].CompletionStart,
            position_weight = weight,
            code_start = (int*)start,
            code_latent = (int*)latent,
            code_value = (float*)value,
        };
    }
}

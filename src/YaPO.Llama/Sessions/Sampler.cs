using YaPO.Llama.Interop;
using YaPO.Llama.Models;

namespace YaPO.Llama.Sessions;

/// <summary>How the next token is chosen; the defaults are llama.cpp's chain with moderate values.</summary>
public sealed record SamplerOptions
{
    /// <summary>Always the likeliest token.</summary>
    public static SamplerOptions Greedy { get; } = new() { Temperature = 0 };

    /// <summary>
    /// Equal seeds choose equal tokens from equal logits. One build on one machine with one number of threads gives equal logits, bit for bit, for equal calls
    /// in equal order: a new session or scorer, or a new engine asked the same requests one at a time. What an engine computed before or computes beside a request
    /// (other shapes of batches) changes them by rounding (measured: up to 0.006 nats on F16, 0.16 on Q4_K_M): a text then parts where the draw falls between
    /// two tokens within that.
    /// </summary>
    public uint Seed { get; init; } = 1234;

    /// <summary>0: greedy; 1: the model's own distribution.</summary>
    public float Temperature { get; init; } = 0.8f;

    /// <summary>Only the k likeliest tokens; 0: all.</summary>
    public int TopK { get; init; } = 40;

    /// <summary>Only the smallest set of tokens with this much probability; 1: all.</summary>
    public float TopP { get; init; } = 0.95f;

    /// <summary>Only tokens with at least this share of the likeliest one's probability; 0: all.</summary>
    public float MinP { get; init; } = 0.05f;

    /// <summary>Divides the logits of recent tokens; 1: off.</summary>
    public float RepeatPenalty { get; init; } = 1;

    /// <summary>Subtracted per earlier occurrence; 0: off.</summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>Subtracted once for an earlier occurrence; 0: off.</summary>
    public float PresencePenalty { get; init; }

    /// <summary>Tokens that the penalties look back on.</summary>
    public int PenaltyWindow { get; init; } = 64;
}

/// <summary>llama.cpp's sampler chain: chooses tokens and remembers them for the penalties. One thread at a time.</summary>
public sealed unsafe class Sampler : IDisposable
{
    private readonly SamplerHandle handle;

    /// <summary>Creates the chain.</summary>
    /// <exception cref="YapoException">A value out of range.</exception>
    public Sampler(LlamaModel model, SamplerOptions options)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        var native = default(yapo_sampler_options);
        NativeMethods.yapo_sampler_default_options(ref native);
        native.seed = options.Seed;
        native.temperature = options.Temperature;
        native.top_k = options.TopK;
        native.top_p = options.TopP;
        native.min_p = options.MinP;
        native.repeat_penalty = options.RepeatPenalty;
        native.frequency_penalty = options.FrequencyPenalty;
        native.presence_penalty = options.PresencePenalty;
        native.penalty_last_n = options.PenaltyWindow;
        NativeMethods.yapo_sampler_create(model.Handle, native, out handle, out var err).Check(err);
    }

    /// <summary>Chooses a token from the logits of a row of the last decode and remembers it.</summary>
    public int Sample(LlamaContext context, int row)
    {
        ArgumentNullException.ThrowIfNull(context);
        NativeMethods.yapo_sampler_sample(handle, context.Handle, row, out var token, out var err).Check(err);
        return token;
    }

    /// <summary>Forgets the tokens and starts the random numbers again.</summary>
    public void Reset()
    {
        NativeMethods.yapo_sampler_reset(handle, out var err).Check(err);
    }

    /// <summary>Releases the native chain.</summary>
    public void Dispose() => handle.Dispose();
}

using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct yapo_sequence
{
    public uint struct_size;
    public int n_tokens;
    public int* tokens;
    public float* residual;
    public int completion_start;
    public float* position_weight;
}

// yapo_train.h: upper blocks, loss and gradient of a steering vector.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_upper_load(string gguf_path, int layer, out UpperHandle upper, out nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_upper_free(nint upper);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_worker_create(UpperHandle upper, out UpperWorkerHandle worker, out nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_upper_worker_free(nint worker);

    /// <summary>Sparse: <paramref name="enc"/> and <paramref name="dec"/> [F, D], the others [F]. Dense: all empty.</summary>
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_set_latents(
        UpperHandle upper, int kind, long f, long d_model,
        ReadOnlySpan<float> enc, ReadOnlySpan<float> enc_bias, ReadOnlySpan<float> threshold, ReadOnlySpan<float> dec, out nint err);

    /// <summary><paramref name="v"/> empty: unsteered.</summary>
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_logprob(
        UpperWorkerHandle worker, in yapo_sequence sequence, ReadOnlySpan<float> v, float multiplier, out double logprob, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_logprob_gradient(
        UpperWorkerHandle worker, in yapo_sequence sequence, ReadOnlySpan<float> v, float multiplier, double scale, Span<float> gradient, out double logprob, out nint err);
}

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
    public int* code_start;
    public int* code_latent;
    public float* code_value;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct yapo_latents
{
    public uint struct_size;
    public int kind;
    public int layer;
    public int reserved;
    public long f;
    public long d_model;
    public int* index;
    public float* enc;
    public float* enc_bias;
    public float* threshold;
    public float* dec;
}

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_upper_shape
{
    public uint struct_size;
    public int layer;
    public int n_layer;
    public int d_model;
    public int n_head;
    public int n_head_kv;
    public int head_dim;
    public int n_ff;
    public int n_vocab;
    public int silu;
    public int interleaved;
    public int n_tensors;
    public float eps;
    public float attention_scale;
    public float attention_softcap;
    public float final_softcap;
}

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_upper_block
{
    public uint struct_size;
    public int window;
    public float theta;
    public float rope_scale;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct yapo_upper_tensor
{
    public uint struct_size;
    public int reserved;
    public byte* name;
    public long row;
    public long n_rows;
}

// yapo_train.h: upper blocks, loss and gradient of a steering vector.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_upper_load(string gguf_path, int layer, out UpperHandle upper, out nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_upper_free(nint upper);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_upper_place(UpperHandle upper, string device, string? rpc, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_worker_create(UpperHandle upper, out UpperWorkerHandle worker, out nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_upper_worker_free(nint worker);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_set_latents(UpperHandle upper, ReadOnlySpan<yapo_latents> latents, int n, out nint err);

    /// <summary><paramref name="v"/> empty: unsteered.</summary>
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_logprob(
        UpperWorkerHandle worker, in yapo_sequence sequence, ReadOnlySpan<float> v, float multiplier, out double logprob, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_logprob_gradient(
        UpperWorkerHandle worker, in yapo_sequence sequence, ReadOnlySpan<float> v, float multiplier, double scale, Span<float> gradient, out double logprob, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_describe(UpperHandle upper, ref yapo_upper_shape shape, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_describe_block(UpperHandle upper, int il, ref yapo_upper_block block, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_describe_tensor(UpperHandle upper, int i, ref yapo_upper_tensor tensor, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_upper_read_tensor(UpperHandle upper, int i, long first_row, long n_rows, Span<float> rows, out nint err);
}

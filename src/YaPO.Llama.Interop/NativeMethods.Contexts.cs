using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_context_options
{
    public uint struct_size;
    public uint n_ctx;
    public uint n_batch;
    public uint n_ubatch;
    public uint n_seq_max;
    public int n_threads;
    public int swa_full;
    public int flash_attention;
    public int type_kv;
    public int embeddings;
}

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_context_stats
{
    public uint struct_size;
    public uint n_ctx;
    public uint n_batch;
    public uint n_ubatch;
    public uint n_seq_max;
    public long n_graphs_computed;
    public long n_graphs_reused;
    public long bytes_steering;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct yapo_batch
{
    public uint struct_size;
    public int n_tokens;
    public int* tokens;
    public int* positions;
    public int* sequences;
    public byte* outputs;
    public float* strengths;
}

// Contexts and decoding.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library)]
    internal static partial void yapo_context_default_options(ref yapo_context_options options);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_create(ModelHandle model, in yapo_context_options options, out ContextHandle context, out nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_context_free(nint context);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_get_stats(ContextHandle context, ref yapo_context_stats stats, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_memory(ContextHandle context, out nint json, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_set_control_vector(ContextHandle context, ReadOnlySpan<float> rows, long n, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_decode(ContextHandle context, in yapo_batch batch, out nint err);

    /// <summary>Any thread.</summary>
    [LibraryImport(Library)]
    internal static partial void yapo_context_cancel(ContextHandle context);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_logits(ContextHandle context, int row, Span<float> logits, long capacity, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_logprobs(ContextHandle context, int row, ReadOnlySpan<int> ids, long n, Span<double> logprobs, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_embedding(ContextHandle context, int sequence, Span<float> embedding, long n, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_embedding_size(ContextHandle context, out long n, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_remove(ContextHandle context, int sequence, int p0, int p1, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_copy(ContextHandle context, int src, int dst, int p0, int p1, out nint err);
}

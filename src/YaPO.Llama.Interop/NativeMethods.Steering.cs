using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

internal enum yapo_vector_kind
{
    YAPO_VECTOR_DENSE = 0,
    YAPO_VECTOR_SPARSE = 1,
    YAPO_VECTOR_REPLACE = 2,
}

internal enum yapo_vector_operator
{
    YAPO_OPERATOR_ADD = 0,
}

internal enum yapo_row_type
{
    YAPO_ROW_F32 = 0,
    YAPO_ROW_F16 = 1,
    YAPO_ROW_BF16 = 2,
    YAPO_ROW_Q8_0 = 3,
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct yapo_vector_desc
{
    public uint struct_size;
    public int kind;
    public int op;
    public int layer;
    public long d_model;
    public long k;
    public ulong sae_id;
    public int* index;
    public float* value;
    public float* enc;
    public float* enc_bias;
    public float* threshold;
    public float* dec;
    public int dec_row_type;
    public nint sae;
}

// Steering.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_set_vectors(ContextHandle context, ReadOnlySpan<yapo_vector_desc> vectors, int n, out nint err);
}

using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

internal enum yapo_activation
{
    YAPO_SAE_JUMPRELU = 0,
    YAPO_SAE_TOPK = 1,
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct yapo_full_sae_desc
{
    public uint struct_size;
    public int layer;
    public long d_model;
    public long width;
    public int activation;
    public int topk;
    public float* enc_bias;
    public float* threshold;
    public int dec_row_type;
}

// Full SAEs.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_full_sae_create(ModelHandle model, in yapo_full_sae_desc desc, out FullSaeHandle sae, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_full_sae_set_encoder(FullSaeHandle sae, long first, long n, ReadOnlySpan<float> rows, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_full_sae_set_decoder(FullSaeHandle sae, long first, long n, ReadOnlySpan<float> rows, out nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_full_sae_free(nint sae);
}

using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct yapo_model_options
{
    public uint struct_size;
    public int gpu_layers;
    public int vocab_only;
    public int use_mmap;
    public byte* device;
    public byte* rpc;
    public delegate* unmanaged[Cdecl]<float, void*, int> progress;
    public void* progress_user;
    public int no_alloc;
    public int keep_layout;
}

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_model_info
{
    public uint struct_size;
    public int n_layer;
    public int d_model;
    public int n_head;
    public int n_head_kv;
    public int n_vocab;
    public int n_ctx_train;
    public int token_bos;
    public int token_eos;
    public int token_eot;
    public int add_bos;
    public int vocab_only;
    public ulong n_params;
    public ulong size_bytes;
}

// Models.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library)]
    internal static partial void yapo_model_default_options(ref yapo_model_options options);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_model_load(string path, in yapo_model_options options, out ModelHandle model, out nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_model_free(nint model);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_model_get_info(ModelHandle model, ref yapo_model_info info, out nint err);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_model_meta(ModelHandle model, string key, out nint value, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_model_description(ModelHandle model, out nint description, out nint err);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_model_quantize(string src, string dst, string type, int n_threads, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_dequantize(int type, ReadOnlySpan<byte> data, long bytes, Span<float> values, long n, out nint err);
}

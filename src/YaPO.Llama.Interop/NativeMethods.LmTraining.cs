using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_lm_options
{
    public uint struct_size;
    public int n_ctx;
    public int n_workers;
    public int micro_batch;
    public float beta1;
    public float beta2;
    public float epsilon;
    public float weight_decay;
    public float gradient_clip;
}

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_lm_step
{
    public uint struct_size;
    public double loss;
    public double gradient_norm;
    public double tokens;
}

// yapo_train.h: language-model training.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library)]
    internal static partial void yapo_lm_default_options(ref yapo_lm_options options);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_lm_create(string gguf_path, in yapo_lm_options options, out LmTrainerHandle trainer, out nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_lm_free(nint trainer);

    /// <summary><paramref name="tokens"/> is [n_sequences, T + 1].</summary>
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_lm_train_step(
        LmTrainerHandle trainer, ReadOnlySpan<int> tokens, int n_sequences, float learning_rate, ref yapo_lm_step step, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_lm_evaluate(LmTrainerHandle trainer, ReadOnlySpan<int> tokens, int n_sequences, ref yapo_lm_step step, out nint err);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_lm_save_model(LmTrainerHandle trainer, string path, out nint err);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_lm_save_state(LmTrainerHandle trainer, string path, out nint err);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_lm_load_state(LmTrainerHandle trainer, string path, out nint err);
}

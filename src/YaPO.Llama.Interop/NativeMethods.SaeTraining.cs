using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_sae_options
{
    public uint struct_size;
    public long d_model;
    public long f;
    public int n_workers;
    public float beta1;
    public float beta2;
    public float epsilon;
    public float bandwidth;
    public float gradient_clip;
    public ulong seed;
    public float threshold_rate;
    public int k;
}

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_sae_step
{
    public uint struct_size;
    public double loss;
    public double explained_variance;
    public double l0;
}

// yapo_train.h: SAE training.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library)]
    internal static partial void yapo_sae_default_options(ref yapo_sae_options options);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sae_create(
        in yapo_sae_options options, ReadOnlySpan<float> mean, float initial_threshold, out SaeTrainerHandle trainer, out nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_sae_free(nint trainer);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sae_train_step(
        SaeTrainerHandle trainer, ReadOnlySpan<float> rows, long n_rows, float learning_rate, float sparsity, ref yapo_sae_step step, out nint err);

    /// <summary><paramref name="fired"/> may be empty.</summary>
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sae_evaluate(
        SaeTrainerHandle trainer, ReadOnlySpan<float> rows, long n_rows, ref yapo_sae_step step, Span<long> fired, Span<float> largest, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sae_quiet(SaeTrainerHandle trainer, Span<long> rows, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sae_resample(SaeTrainerHandle trainer, ReadOnlySpan<int> latents, ReadOnlySpan<float> rows, long n, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sae_row_errors(SaeTrainerHandle trainer, ReadOnlySpan<float> rows, long n_rows, Span<float> errors, out nint err);

    /// <summary>Empty outputs are not computed into.</summary>
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sae_gradient(
        SaeTrainerHandle trainer, ReadOnlySpan<float> rows, long n_rows, float sparsity, ref yapo_sae_step step,
        Span<float> enc, Span<float> enc_bias, Span<float> log_threshold, Span<float> dec, Span<float> dec_bias, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sae_weights(
        SaeTrainerHandle trainer, Span<float> enc, Span<float> enc_bias, Span<float> threshold, Span<float> dec, Span<float> dec_bias, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sae_set_weights(
        SaeTrainerHandle trainer, ReadOnlySpan<float> enc, ReadOnlySpan<float> enc_bias, ReadOnlySpan<float> threshold, ReadOnlySpan<float> dec, ReadOnlySpan<float> dec_bias, out nint err);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_sae_save_state(SaeTrainerHandle trainer, string path, out nint err);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_sae_load_state(SaeTrainerHandle trainer, string path, out nint err);

    /// <summary><paramref name="z"/> [N, F] is filled.</summary>
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sae_encode(
        long d_model, long f, ReadOnlySpan<float> enc, ReadOnlySpan<float> enc_bias, ReadOnlySpan<float> threshold,
        ReadOnlySpan<float> rows, long n_rows, int n_workers, Span<float> z, out nint err);
}

using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_sampler_options
{
    public uint struct_size;
    public uint seed;
    public float temperature;
    public int top_k;
    public float top_p;
    public float min_p;
    public float repeat_penalty;
    public float frequency_penalty;
    public float presence_penalty;
    public int penalty_last_n;
}

// Sampling.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library)]
    internal static partial void yapo_sampler_default_options(ref yapo_sampler_options options);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sampler_create(ModelHandle model, in yapo_sampler_options options, out SamplerHandle sampler, out nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_sampler_free(nint sampler);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sampler_sample(SamplerHandle sampler, ContextHandle context, int row, out int token, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_sampler_reset(SamplerHandle sampler, out nint err);
}

using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

internal enum yapo_capture_site
{
    YAPO_CAPTURE_BEFORE = 0,
    YAPO_CAPTURE_AFTER = 1,
}

[StructLayout(LayoutKind.Sequential)]
internal struct yapo_readout_desc
{
    public uint struct_size;
    public int site;
    public int top;
    public nint sae;
}

// Capture and SAE read-out.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_set_capture(ContextHandle context, ReadOnlySpan<int> layers, ReadOnlySpan<int> sites, int n, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_captured(ContextHandle context, int slot, Span<float> residuals, long capacity, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_set_readout(ContextHandle context, ReadOnlySpan<yapo_readout_desc> readouts, int n, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_readout(
        ContextHandle context, int slot, Span<int> latents, Span<float> activations, Span<int> active, long capacity, out nint err);
}

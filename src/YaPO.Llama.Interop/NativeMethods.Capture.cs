using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

internal enum yapo_capture_site
{
    YAPO_CAPTURE_BEFORE = 0,
    YAPO_CAPTURE_AFTER = 1,
}

// Capture.
internal static unsafe partial class NativeMethods
{
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_set_capture(ContextHandle context, ReadOnlySpan<int> layers, ReadOnlySpan<int> sites, int n, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_captured(ContextHandle context, int slot, Span<float> residuals, long capacity, out nint err);
}

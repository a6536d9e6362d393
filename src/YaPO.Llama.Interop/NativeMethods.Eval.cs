using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

// A context with an eval callback of llama.cpp (yapo_eval.h), to measure the route of unpatched libraries with.
internal static partial class NativeMethods
{
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_context_create_with_eval(ModelHandle model, in yapo_context_options options, nint eval, nint eval_user, out ContextHandle context, out nint err);
}

namespace YaPO.Llama.Interop;

/// <summary>
/// The exports of libyapo under their C names; one partial per section of <c>yapo.h</c> and <c>yapo_train.h</c>, in the header's order;
/// those of <c>yapo_attachment.h</c>, <c>yapo_eval.h</c> and <c>yapo_stock.h</c> have one each.
/// Conventions: failing functions return <see cref="yapo_status"/> and, only then, an error object in <c>err</c> that the caller frees.
/// </summary>
internal static unsafe partial class NativeMethods
{
    private const string Library = NativeLibraryResolver.Yapo;

    // Explicit, so that it runs before the first import is called: the resolver must be in place by then.
    static NativeMethods() => NativeLibraryResolver.Register();
}

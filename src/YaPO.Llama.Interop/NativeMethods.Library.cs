using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

/// <summary>What a call came to.</summary>
internal enum yapo_status
{
    YAPO_OK = 0,
    YAPO_ERR_INVALID_ARGUMENT = 1,
    YAPO_ERR_IO = 2,
    YAPO_ERR_FORMAT = 3,
    YAPO_ERR_MISMATCH = 4,
    YAPO_ERR_UNSUPPORTED = 5,
    YAPO_ERR_OUT_OF_MEMORY = 6,
    YAPO_ERR_CANCELLED = 7,
    YAPO_ERR_CONTEXT_FULL = 8,
    YAPO_ERR_INTERNAL = 9,
}

// Errors, strings, library.
internal static unsafe partial class NativeMethods
{
    /// <summary><c>YAPO_ABI_VERSION</c> of the headers that these bindings mirror.</summary>
    internal const uint YAPO_ABI_VERSION = 6;

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_error_status(nint err);

    /// <summary>UTF-8, valid until <see cref="yapo_error_free"/>.</summary>
    [LibraryImport(Library)]
    internal static partial nint yapo_error_message(nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_error_free(nint err);

    [LibraryImport(Library)]
    internal static partial void yapo_string_free(nint s);

    [LibraryImport(Library)]
    internal static partial uint yapo_abi_version();

    /// <summary>Static UTF-8 JSON: never freed.</summary>
    [LibraryImport(Library)]
    internal static partial nint yapo_build_info();

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_devices(out nint json, out nint err);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_rpc_devices(string servers, out nint json, out nint err);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_rpc_serve(string host, int port, string? device, int n_threads, out nint err);

    [LibraryImport(Library)]
    internal static partial long yapo_live_handles();

    [LibraryImport(Library)]
    internal static partial void yapo_log_set(delegate* unmanaged[Cdecl]<int, byte*, void*, void> callback, void* user);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_gguf_validate(string path, out nint err);
}

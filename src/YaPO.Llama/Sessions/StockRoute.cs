using System.Runtime.InteropServices;
using YaPO.Llama.Interop;
using YaPO.Llama.Models;

namespace YaPO.Llama.Sessions;

/// <summary>
/// Vectors on the route of an unpatched llama.cpp (libyapo-stock): its eval callback, one strength per vector for all tokens, the kernel on the host. Here
/// only to be measured beside the route in the graph, on the same model in the same process; programs attach vectors to the context instead.
/// </summary>
internal sealed unsafe class StockRoute : IDisposable
{
    private readonly StockHandle handle;

    /// <summary>Copies the vectors; their strengths start at 0.</summary>
    /// <exception cref="YapoException">A vector does not fit the model, or needs a whole SAE.</exception>
    public StockRoute(LlamaModel model, IReadOnlyList<AttachedVector> vectors)
    {
        // The same libllama that libyapo links: the one beside it.
        NativeLibraryResolver.EnsureLoaded();
        var folder = Path.GetDirectoryName(NativeLibraryResolver.LoadedPath) ?? "";
        var library = Marshal.StringToCoTaskMemUTF8(Path.Combine(folder, OperatingSystem.IsWindows() ? "llama.dll" : OperatingSystem.IsMacOS() ? "libllama.dylib" : "libllama.so"));
        try
        {
            var options = new yapo_stock_options { struct_size = (uint)sizeof(yapo_stock_options), n_layer = model.Info.LayerCount, d_model = model.Info.ModelWidth, library = (byte*)library };
            var status = NativeMethods.yapo_stock_create(options, out handle, out var err);
            Check(status, err);
        }
        finally
        {
            Marshal.FreeCoTaskMem(library);
        }

        try
        {
            using var pinned = new PinnedVectors(vectors, upload: null);
            var status = NativeMethods.yapo_stock_set_vectors(handle, pinned.Descriptors, pinned.Descriptors.Length, out var err);
            Check(status, err);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>The function and its data, for the context.</summary>
    public (nint Function, nint Data) Callback => (NativeMethods.yapo_stock_callback(), handle.DangerousGetHandle());

    /// <summary>λ of every vector, in their order, for all tokens of the decodes that follow.</summary>
    public void SetStrengths(ReadOnlySpan<float> strengths) => Check(NativeMethods.yapo_stock_set_strengths(handle, strengths, strengths.Length, out var err), err);

    /// <inheritdoc/>
    public void Dispose() => handle.Dispose();

    private static void Check(yapo_status status, nint err)
    {
        if (status == yapo_status.YAPO_OK)
        {
            return;
        }

        var message = Marshal.PtrToStringUTF8(NativeMethods.yapo_stock_error_message(err)) ?? status.ToString();
        NativeMethods.yapo_stock_error_free(err);
        throw new YapoException(NativeStatus.Kind(status), message);
    }
}

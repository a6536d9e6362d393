using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

/// <summary>Takes over strings and error objects that the native side hands out: copied into managed memory, freed exactly once.</summary>
internal static class NativeText
{
    /// <summary>Copies an out string and frees it; null stays null.</summary>
    internal static string? Take(nint text)
    {
        if (text == 0)
        {
            return null;
        }

        try
        {
            return Marshal.PtrToStringUTF8(text);
        }
        finally
        {
            NativeMethods.yapo_string_free(text);
        }
    }

    /// <summary>Copies the message of an error object and frees it. The native side may have had no memory left for one.</summary>
    internal static string TakeError(yapo_status status, nint err)
    {
        if (err == 0)
        {
            return $"the native library gave no message ({status})";
        }

        try
        {
            return Marshal.PtrToStringUTF8(NativeMethods.yapo_error_message(err)) ?? status.ToString();
        }
        finally
        {
            NativeMethods.yapo_error_free(err);
        }
    }
}

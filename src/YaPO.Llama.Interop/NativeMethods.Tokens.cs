using System.Runtime.InteropServices;

namespace YaPO.Llama.Interop;

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct yapo_chat_message
{
    public byte* role;
    public byte* content;
}

// Tokens and chat templates.
internal static unsafe partial class NativeMethods
{
    /// <summary>Writes at most <paramref name="capacity"/> ids; <paramref name="n"/> is always the number needed.</summary>
    [LibraryImport(Library)]
    internal static partial yapo_status yapo_tokenize(
        ModelHandle model, ReadOnlySpan<byte> text, long text_bytes, int add_special, int parse_special, Span<int> ids, long capacity, out long n, out nint err);

    [LibraryImport(Library)]
    internal static partial yapo_status yapo_token_piece(ModelHandle model, int id, int special, Span<byte> bytes, int capacity, out int n, out nint err);

    [LibraryImport(Library)]
    internal static partial int yapo_token_is_eog(ModelHandle model, int id);

    [LibraryImport(Library)]
    internal static partial int yapo_token_is_control(ModelHandle model, int id);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial yapo_status yapo_chat_format(
        ModelHandle model, string? template_override, ReadOnlySpan<yapo_chat_message> messages, long n_messages, int add_generation_prompt, out nint text, out nint err);
}

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using YaPO.Llama.Interop;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Models;

/// <summary>
/// A GGUF model in memory: tokenizer, chat template, metadata, and what contexts are made from. Contexts of one model may run on different threads; the
/// methods of this class are for one thread at a time. Contexts keep the native model alive: it may be disposed before them.
/// </summary>
public sealed unsafe class LlamaModel : IDisposable
{
    private LlamaModel(string path, ModelHandle handle)
    {
        Path = path;
        Handle = handle;
        Info = ReadInfo();
        SaeUploads = new SaeUploads(this);
    }

    /// <summary>The file it was loaded from.</summary>
    public string Path { get; }

    /// <summary>Hyper-parameters and special tokens.</summary>
    public ModelInfo Info { get; }

    /// <summary>Whether the file brings a chat template.</summary>
    public bool HasChatTemplate => Meta("tokenizer.chat_template") is { Length: > 0 };

    internal ModelHandle Handle { get; }

    internal SaeUploads SaeUploads { get; }

    /// <summary>Loads a model.</summary>
    /// <param name="path">A GGUF file; of a split model the first part.</param>
    /// <param name="options">Null: defaults.</param>
    /// <param name="progress">0 to 1, reported from the calling thread.</param>
    /// <param name="cancellation">Stops the loading.</param>
    /// <exception cref="YapoException">The file is missing (<see cref="YapoErrorKind.Io"/>), broken (<see cref="YapoErrorKind.Format"/>) or of an
    /// architecture that llama.cpp does not know (<see cref="YapoErrorKind.Unsupported"/>).</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public static LlamaModel Load(string path, ModelOptions? options = null, IProgress<float>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        LlamaRuntime.EnsureLoaded();
        options ??= new ModelOptions();
        var native = default(yapo_model_options);
        NativeMethods.yapo_model_default_options(ref native);
        native.gpu_layers = options.GpuLayers;
        native.vocab_only = options.VocabularyOnly ? 1 : 0;
        native.use_mmap = options.UseMemoryMap ? 1 : 0;
        native.no_alloc = options.SizesOnly ? 1 : 0;
        native.keep_layout = options.KeepLayout ? 1 : 0;

        var watcher = new LoadWatcher(progress, cancellation);
        var pin = GCHandle.Alloc(watcher);
        fixed (byte* device = NullTerminated(options.Device))
        fixed (byte* rpc = NullTerminated(options.Rpc))
        {
            native.device = device;
            native.rpc = rpc;
            native.progress = &OnProgress;
            native.progress_user = (void*)GCHandle.ToIntPtr(pin);
            try
            {
                var status = NativeMethods.yapo_model_load(path, native, out var handle, out var err);
                if (watcher.Failure is { } failure)
                {
                    handle.Dispose();
                    _ = status == yapo_status.YAPO_OK ? "" : NativeText.TakeError(status, err);
                    failure.Throw();
                }

                status.Check(err, cancellation);
                try
                {
                    return new LlamaModel(path, handle);
                }
                catch
                {
                    handle.Dispose();
                    throw;
                }
            }
            finally
            {
                pin.Free();
            }
        }
    }

    /// <summary>Quantizes a model file into another, written beside the target and renamed.</summary>
    /// <param name="source">An F32, F16 or BF16 GGUF.</param>
    /// <param name="target">Overwritten when it exists.</param>
    /// <param name="type"><c>q8_0</c>, <c>q4_k_m</c>, <c>f16</c>, ...</param>
    /// <param name="threads">0: all cores.</param>
    public static void Quantize(string source, string target, string type, int threads = 0)
    {
        LlamaRuntime.EnsureLoaded();
        NativeMethods.yapo_model_quantize(source, target, type, threads, out var err).Check(err);
    }

    /// <summary>Turns text into token ids.</summary>
    /// <param name="text">Any text; empty gives no token but BOS.</param>
    /// <param name="addSpecial">BOS in front (and EOS behind) where the model wants them.</param>
    /// <param name="parseSpecial">Control tokens written in the text, such as <c>&lt;start_of_turn&gt;</c>, become those tokens.</param>
    public int[] Tokenize(string text, bool addSpecial = true, bool parseSpecial = true)
    {
        ArgumentNullException.ThrowIfNull(text);
        var bytes = Encoding.UTF8.GetBytes(text);
        var ids = new int[bytes.Length + 2];
        while (true)
        {
            NativeMethods.yapo_tokenize(Handle, bytes, bytes.Length, addSpecial ? 1 : 0, parseSpecial ? 1 : 0, ids, ids.Length, out var needed, out var err).Check(err);
            if (needed <= ids.Length)
            {
                return ids[..(int)needed];
            }

            ids = new int[needed];
        }
    }

    /// <summary>The bytes of one token; not necessarily whole UTF-8 characters (see <see cref="Utf8Assembler"/>).</summary>
    /// <param name="id">A token id of this vocabulary.</param>
    /// <param name="special">Renders control tokens as text instead of nothing.</param>
    /// <exception cref="YapoException">No such token.</exception>
    public byte[] TokenPiece(int id, bool special = false)
    {
        Span<byte> room = stackalloc byte[128];
        NativeMethods.yapo_token_piece(Handle, id, special ? 1 : 0, room, room.Length, out var n, out var err).Check(err);
        if (n <= room.Length)
        {
            return room[..n].ToArray();
        }

        var piece = new byte[n];
        NativeMethods.yapo_token_piece(Handle, id, special ? 1 : 0, piece, n, out _, out err).Check(err);
        return piece;
    }

    /// <summary>The text of tokens; bytes that are no UTF-8 become U+FFFD.</summary>
    public string Detokenize(ReadOnlySpan<int> tokens, bool special = false)
    {
        var decoder = new Utf8Assembler();
        var text = new StringBuilder();
        foreach (var id in tokens)
        {
            text.Append(decoder.Append(TokenPiece(id, special)));
        }

        return text.Append(decoder.Flush()).ToString();
    }

    /// <summary>Whether this token ends an answer (EOS, end of turn, ...).</summary>
    public bool IsEndOfGeneration(int id) => NativeMethods.yapo_token_is_eog(Handle, id) != 0;

    /// <summary>Whether this is a control token, which has no text of its own.</summary>
    public bool IsControl(int id) => NativeMethods.yapo_token_is_control(Handle, id) != 0;

    /// <summary>A metadata value of the file as text; null where the key does not exist or holds an array.</summary>
    public string? Meta(string key)
    {
        NativeMethods.yapo_model_meta(Handle, key, out var value, out var err).Check(err);
        return NativeText.Take(value);
    }

    /// <summary>
    /// Renders a conversation with the model's own chat template. A template that refuses a system role gets the system text in front of the first user
    /// turn, two line ends between them, which is how Gemma is prompted.
    /// </summary>
    /// <param name="messages">Roles <c>system</c>, <c>user</c>, <c>assistant</c>.</param>
    /// <param name="addGenerationPrompt">Ends with the header of the answer.</param>
    /// <param name="templateOverride">A Jinja template to use instead of the file's.</param>
    /// <exception cref="YapoException">No template, or one that refuses these messages (<see cref="YapoErrorKind.Unsupported"/>).</exception>
    public string FormatChat(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt = true, string? templateOverride = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        return RenderChat(messages, addGenerationPrompt, templateOverride).Text;
    }

    /// <summary>As <see cref="FormatChat"/>, with the messages as the template accepted them.</summary>
    internal (IReadOnlyList<ChatMessage> Messages, string Text) RenderChat(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt, string? templateOverride)
    {
        try
        {
            return (messages, Render(messages, addGenerationPrompt, templateOverride));
        }
        catch (YapoException e) when (e.Kind == YapoErrorKind.Unsupported && ChatMessage.FoldSystem(messages) is { } folded)
        {
            return (folded, Render(folded, addGenerationPrompt, templateOverride));
        }
    }

    /// <summary>Tokens of text that a chat template rendered: exactly one BOS where the model wants one, whether or not the template wrote it.</summary>
    /// <param name="rendered">What <see cref="FormatChat"/> returned.</param>
    public int[] TokenizeChat(string rendered)
    {
        var tokens = Tokenize(rendered, addSpecial: false, parseSpecial: true);
        var startsWithBos = tokens.Length > 0 && tokens[0] == Info.BosToken;
        return Info.AddsBos && !startsWithBos ? [Info.BosToken, .. tokens] : tokens;
    }

    /// <summary>Releases the native model once its last context is gone.</summary>
    public void Dispose()
    {
        SaeUploads.Dispose();
        Handle.Dispose();
    }

    private string Render(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt, string? templateOverride)
    {
        var native = new yapo_chat_message[messages.Count];
        var text = new byte[messages.Count * 2][];
        var pins = new GCHandle[messages.Count * 2];
        try
        {
            for (var i = 0; i < pins.Length; i++)
            {
                var part = i % 2 == 0 ? messages[i / 2].Role : messages[i / 2].Content;
                if (part.Contains('\0', StringComparison.Ordinal))
                {
                    throw new YapoException(YapoErrorKind.InvalidArgument, $"message {i / 2} of the conversation holds a zero character, which no chat template can carry");
                }

                text[i] = NullTerminated(part)!;
                pins[i] = GCHandle.Alloc(text[i], GCHandleType.Pinned);
            }

            for (var i = 0; i < native.Length; i++)
            {
                native[i] = new yapo_chat_message { role = (byte*)pins[2 * i].AddrOfPinnedObject(), content = (byte*)pins[(2 * i) + 1].AddrOfPinnedObject() };
            }

            NativeMethods.yapo_chat_format(Handle, templateOverride, native, native.Length, addGenerationPrompt ? 1 : 0, out var rendered, out var err).Check(err);
            return NativeText.Take(rendered) ?? "";
        }
        finally
        {
            foreach (var pin in pins)
            {
                if (pin.IsAllocated)
                {
                    pin.Free();
                }
            }
        }
    }

    private ModelInfo ReadInfo()
    {
        var native = new yapo_model_info { struct_size = (uint)sizeof(yapo_model_info) };
        NativeMethods.yapo_model_get_info(Handle, ref native, out var err).Check(err);
        NativeMethods.yapo_model_description(Handle, out var description, out err).Check(err);
        return new ModelInfo(
            Meta("general.architecture") ?? "",
            Meta("general.name") ?? "",
            NativeText.Take(description) ?? "",
            native.n_layer,
            native.d_model,
            native.n_head,
            native.n_head_kv,
            native.n_vocab,
            native.n_ctx_train,
            native.token_bos,
            native.token_eos,
            native.token_eot,
            native.add_bos != 0,
            native.n_params,
            native.size_bytes);
    }

    private static byte[]? NullTerminated(string? text) => text is null ? null : Encoding.UTF8.GetBytes(text + '\0');

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int OnProgress(float fraction, void* user) =>
        ((LoadWatcher)GCHandle.FromIntPtr((nint)user).Target!).Report(fraction) ? 1 : 0;

    /// <summary>What the progress callback needs. An exception of the listener is kept and thrown after the native call, never through it.</summary>
    private sealed class LoadWatcher(IProgress<float>? progress, CancellationToken cancellation)
    {
        public System.Runtime.ExceptionServices.ExceptionDispatchInfo? Failure { get; private set; }

        public bool Report(float fraction)
        {
            try
            {
                progress?.Report(fraction);
                return Failure is null && !cancellation.IsCancellationRequested;
            }
#pragma warning disable CA1031 // stored and rethrown by Load
            catch (Exception e)
#pragma warning restore CA1031
            {
                Failure = System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(e);
                return false;
            }
        }
    }
}

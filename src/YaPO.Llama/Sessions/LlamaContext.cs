using System.Runtime.InteropServices;
using System.Text.Json;
using YaPO.Llama.Interop;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Sessions;

/// <summary>Where the residual stream is read relative to the steering of the same layer.</summary>
public enum CaptureSite
{
    /// <summary>What the steering vectors of the layer read.</summary>
    BeforeSteering = 0,

    /// <summary>What the next block reads.</summary>
    AfterSteering = 1,
}

/// <summary>Which latents to read out.</summary>
/// <param name="Sae">The SAE, which names the layer.</param>
/// <param name="Top">N: latents kept per token, 1 … F.</param>
/// <param name="Site">Before the layer's steering (what its vectors read) or after it.</param>
public readonly record struct SaeReadout(SaeFile Sae, int Top, CaptureSite Site = CaptureSite.BeforeSteering);

/// <summary>
/// A key-value cache over a model and the decoding on top of it: a thin, checked layer over <c>yapo_context</c>. One thread at a time, except
/// <see cref="Cancel"/>. It keeps the native model alive.
/// </summary>
public sealed unsafe class LlamaContext : IDisposable
{
    private readonly ContextHandle handle;

    /// <summary>Creates the context and its cache.</summary>
    /// <exception cref="YapoException">The options do not fit the model, or there is no memory for the cache.</exception>
    public LlamaContext(LlamaModel model, ContextOptions? options = null) : this(model, options, null)
    {
    }

    /// <summary>The same with the eval callback of an unpatched llama.cpp.</summary>
    /// <param name="model">The model.</param>
    /// <param name="options">Sizes; null: the defaults.</param>
    /// <param name="stock">Called back after every steered layer; must outlive the context. Null: none.</param>
    internal LlamaContext(LlamaModel model, ContextOptions? options, StockRoute? stock)
    {
        ArgumentNullException.ThrowIfNull(model);
        options ??= new ContextOptions();
        var native = default(yapo_context_options);
        NativeMethods.yapo_context_default_options(ref native);
        native.n_ctx = NotNegative(options.ContextSize, nameof(options.ContextSize));
        native.n_batch = NotNegative(options.BatchSize, nameof(options.BatchSize));
        native.n_ubatch = NotNegative(options.MicroBatchSize, nameof(options.MicroBatchSize));
        native.n_seq_max = NotNegative(options.Sequences, nameof(options.Sequences));
        native.n_threads = options.Threads == 0 && model.Info.ParameterCount < ContextOptions.SmallModel ? 1 : (int)NotNegative(options.Threads, nameof(options.Threads));
        native.swa_full = options.FullSlidingWindowCache ? 1 : 0;
        native.flash_attention = options.FlashAttention switch { null => -1, false => 0, true => 1 };
        native.type_kv = (int)options.CacheType;
        native.embeddings = options.Embeddings ? 1 : 0;
        var (eval, data) = stock?.Callback ?? default;
        NativeMethods.yapo_context_create_with_eval(model.Handle, native, eval, data, out handle, out var err).Check(err);

        Model = model;
        CanRewind = options.FullSlidingWindowCache;
        var stats = ReadStatistics();
        ContextSize = (int)stats.n_ctx;
        BatchSize = (int)stats.n_batch;
        SequenceLimit = (int)stats.n_seq_max;
    }

    /// <summary>The model it decodes with.</summary>
    public LlamaModel Model { get; }

    /// <summary>KV cells of all sequences together.</summary>
    public int ContextSize { get; }

    /// <summary>Most rows of one <see cref="Decode"/>.</summary>
    public int BatchSize { get; }

    /// <summary>Sequence ids run below this.</summary>
    public int SequenceLimit { get; }

    /// <summary>The attached vectors, in the order of the strengths of a batch row.</summary>
    public IReadOnlyList<AttachedVector> Vectors { get; private set; } = [];

    /// <summary>Counters since creation.</summary>
    public ContextStatistics Statistics
    {
        get
        {
            var stats = ReadStatistics();
            return new ContextStatistics(stats.n_graphs_computed, stats.n_graphs_reused, stats.bytes_steering);
        }
    }

    /// <summary>
    /// What llama.cpp has allocated for the model and this context, by kind of memory; for a model with <see cref="ModelOptions.SizesOnly"/>, what it would.
    /// </summary>
    public IReadOnlyList<MemoryUse> Memory
    {
        get
        {
            NativeMethods.yapo_context_memory(handle, out var json, out var err).Check(err);
            using var document = JsonDocument.Parse(NativeText.Take(json) ?? "[]");
            return
            [
                .. document.RootElement.EnumerateArray().Select(use => new MemoryUse(
                    use.GetProperty("buffer").GetString() ?? "",
                    use.GetProperty("host").GetBoolean(),
                    use.GetProperty("model").GetInt64(),
                    use.GetProperty("context").GetInt64(),
                    use.GetProperty("compute").GetInt64())),
            ];
        }
    }

    /// <summary>Whether positions may be removed from the end and evaluated again; otherwise only the whole sequence.</summary>
    internal bool CanRewind { get; }

    internal ContextHandle Handle => handle;

    /// <summary>
    /// Evaluates a batch; its rows enter the cache. When it throws, nothing is known about the cells of these rows: <see cref="Remove"/> them before
    /// going on (a full cache is the exception: nothing was written).
    /// </summary>
    /// <exception cref="YapoException">No room (<see cref="YapoErrorKind.Failed"/>), a position with a gap, an unknown token id, ...</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public void Decode(DecodeBatch batch, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(batch);
        if (batch.VectorCount != Vectors.Count)
        {
            throw new ArgumentException($"the batch carries {batch.VectorCount} strengths per token, {Vectors.Count} vectors are attached", nameof(batch));
        }

        cancellation.ThrowIfCancellationRequested();
        using var registration = cancellation.UnsafeRegister(static context => ((LlamaContext)context!).Cancel(), this);
        fixed (int* tokens = batch.Tokens)
        fixed (int* positions = batch.Positions)
        fixed (int* sequences = batch.Sequences)
        fixed (byte* outputs = batch.Outputs)
        fixed (float* strengths = batch.Strengths)
        {
            var native = new yapo_batch
            {
                struct_size = (uint)sizeof(yapo_batch),
                n_tokens = batch.Count,
                tokens = tokens,
                positions = positions,
                sequences = sequences,
                outputs = outputs,
                strengths = strengths,
            };
            NativeMethods.yapo_context_decode(handle, native, out var err).Check(err, cancellation);
        }
    }

    /// <summary>
    /// llama.cpp's own dense steering, which ours is measured against: after block l, 1 ≤ l &lt; L, row l − 1 of <paramref name="rows"/> [L − 1, D] is added to
    /// every token, whatever a batch says. Empty: none.
    /// </summary>
    public void SetControlVector(ReadOnlySpan<float> rows) => NativeMethods.yapo_context_set_control_vector(handle, rows, rows.Length, out var err).Check(err);

    /// <summary>Makes a running <see cref="Decode"/> throw <see cref="OperationCanceledException"/> soon; does nothing once the context is disposed. Any thread.</summary>
    public void Cancel()
    {
        try
        {
            NativeMethods.yapo_context_cancel(handle);
        }
        catch (ObjectDisposedException)
        {
            // Disposed, perhaps just now on another thread: there is nothing left to cancel, and a cancellation token must not fail for it.
        }
    }

    /// <summary>Copies the logits of a row of the last decode into <paramref name="logits"/> [V].</summary>
    public void CopyLogits(int row, Span<float> logits) => NativeMethods.yapo_context_logits(handle, row, logits, logits.Length, out var err).Check(err);

    /// <summary>The logits [V] of a row of the last decode.</summary>
    public float[] Logits(int row)
    {
        var logits = new float[Model.Info.VocabularySize];
        CopyLogits(row, logits);
        return logits;
    }

    /// <summary><c>log softmax(logits[row])[id]</c> for each id, in double precision.</summary>
    public double[] LogProbs(int row, ReadOnlySpan<int> ids)
    {
        var logprobs = new double[ids.Length];
        NativeMethods.yapo_context_logprobs(handle, row, ids, ids.Length, logprobs, out var err).Check(err);
        return logprobs;
    }

    /// <summary>The embedding of a sequence of the last decode, pooled over its tokens as the model's file says, not normalized.</summary>
    /// <exception cref="YapoException">The context gives logits (<see cref="ContextOptions.Embeddings"/>), or the sequence was not in the last decode.</exception>
    public float[] Embedding(int sequence)
    {
        NativeMethods.yapo_context_embedding_size(handle, out var n, out var err).Check(err);
        var embedding = new float[n];
        NativeMethods.yapo_context_embedding(handle, sequence, embedding, n, out err).Check(err);
        return embedding;
    }

    /// <summary>Drops the cells of a sequence with positions in [<paramref name="start"/>, <paramref name="end"/>); negative end: to the last; negative sequence: of all.</summary>
    /// <exception cref="YapoException">Only the whole sequence can be dropped (<see cref="YapoErrorKind.Unsupported"/>): of a recurrent model, and where the sliding
    /// window before <paramref name="start"/> is no longer cached.</exception>
    public void Remove(int sequence, int start, int end = -1) => NativeMethods.yapo_context_remove(handle, sequence, start, end, out var err).Check(err);

    /// <summary>Shares the cells of one sequence in [<paramref name="start"/>, <paramref name="end"/>) with another.</summary>
    /// <exception cref="YapoException">As of <see cref="Remove"/>, and where the target does not end at <paramref name="start"/>.</exception>
    public void Copy(int source, int target, int start, int end) => NativeMethods.yapo_context_copy(handle, source, target, start, end, out var err).Check(err);

    /// <summary>Replaces all attached vectors; none detaches all. When it throws, the old ones are still attached. The cache is left as it is.</summary>
    /// <exception cref="YapoException">A vector of another width (<see cref="YapoErrorKind.Mismatch"/>), a layer out of range, numbers that are not finite, or an
    /// architecture that cannot be steered there (<see cref="YapoErrorKind.Unsupported"/>).</exception>
    public void SetVectors(IReadOnlyList<AttachedVector> vectors)
    {
        ArgumentNullException.ThrowIfNull(vectors);
        using var native = new PinnedVectors(vectors, Model.SaeUploads.Get);
        NativeMethods.yapo_context_set_vectors(handle, native.Descriptors, native.Descriptors.Length, out var err).Check(err);
        Vectors = [.. vectors];
    }

    /// <summary>From the next decode on keeps the residual stream after these blocks; none stops. In the last block only rows with outputs are kept, others are NaN.</summary>
    public void SetCapture(params ReadOnlySpan<(int Layer, CaptureSite Site)> slots)
    {
        var layers = new int[slots.Length];
        var sites = new int[slots.Length];
        for (var i = 0; i < slots.Length; i++)
        {
            (layers[i], sites[i]) = (slots[i].Layer, (int)slots[i].Site);
        }

        NativeMethods.yapo_context_set_capture(handle, layers, sites, slots.Length, out var err).Check(err);
    }

    /// <summary>Copies the residuals [T, D] of the last decode for capture <paramref name="slot"/> in batch order.</summary>
    public void CopyCaptured(int slot, Span<float> residuals) => NativeMethods.yapo_context_captured(handle, slot, residuals, residuals.Length, out var err).Check(err);

    /// <summary>
    /// From the next decode on encodes the residual stream of every token with these whole SAEs and keeps each token's most active latents; none stops.
    /// The SAEs must be open at this call.
    /// </summary>
    /// <exception cref="YapoException">An SAE of another width or layer (<see cref="YapoErrorKind.Mismatch"/>), or more latents asked for than it has.</exception>
    public void SetReadout(params ReadOnlySpan<SaeReadout> slots)
    {
        var borrowed = new List<SafeHandle>();
        try
        {
            var native = new yapo_readout_desc[slots.Length];
            for (var i = 0; i < slots.Length; i++)
            {
                native[i] = new yapo_readout_desc
                {
                    struct_size = (uint)sizeof(yapo_readout_desc),
                    site = (int)slots[i].Site,
                    top = slots[i].Top,
                    sae = PinnedVectors.Borrow(Model.SaeUploads.Get(slots[i].Sae, decoder: false), borrowed),
                };
            }

            NativeMethods.yapo_context_set_readout(handle, native, native.Length, out var err).Check(err);
        }
        finally
        {
            borrowed.ForEach(sae => sae.DangerousRelease());
        }
    }

    /// <summary>
    /// Copies what read-out <paramref name="slot"/> kept of the last decode, in batch order: latents and activations [T, Top], the most active first, −1 and 0
    /// where fewer are active; <paramref name="active"/> [T], how many are. In the last block rows without output give −1 throughout.
    /// </summary>
    public void CopyReadout(int slot, Span<int> latents, Span<float> activations, Span<int> active) =>
        NativeMethods.yapo_context_readout(handle, slot, latents, activations, active, active.Length, out var err).Check(err);

    /// <summary>Releases the native context.</summary>
    public void Dispose() => handle.Dispose();

    private yapo_context_stats ReadStatistics()
    {
        var stats = new yapo_context_stats { struct_size = (uint)sizeof(yapo_context_stats) };
        NativeMethods.yapo_context_get_stats(handle, ref stats, out var err).Check(err);
        return stats;
    }

    private static uint NotNegative(int value, string name) =>
        value >= 0 ? (uint)value : throw new YapoException(YapoErrorKind.InvalidArgument, $"{name} is {value}, expected 0 (default) or more");
}

using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using YaPO.Llama.Interop;
using YaPO.Llama.IO;
using YaPO.Llama.Sae;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Training.Features;

/// <summary>
/// The active latents of every steered token: z does not depend on the vector that is trained, so it is computed once and kept, sparsely, in a
/// memory-mapped temporary file. Of F latents a few dozen are active at a token: 8 bytes each.
/// <code>sequence: start int32 [T + 1], latent int32 [n] ascending within a token, z float32 [n]</code>
/// </summary>
public sealed unsafe class LatentCodes : IDisposable
{
    private const int TileLatents = 4096;
    private const int TileRows = 1024;
    private const int BlockRows = 4096;
    private readonly FileStream _stream;
    private readonly long[] _offset;
    private MemoryMappedFile? _map;
    private MemoryMappedViewAccessor? _view;
    private byte* _data;

    private LatentCodes(string? folder, int sequences)
    {
        _offset = new long[sequences];
        _stream = ScratchFile.Create(folder, "codes");
    }

    /// <summary>Bytes of all codes.</summary>
    public long Bytes { get; private set; }

    /// <summary>
    /// Encodes the rows of all sequences whose weight is not zero. Statistics count the first <paramref name="counted"/> sequences only (those trained on).
    /// </summary>
    /// <param name="sae">An SAE with thresholds; its encoder is read once per few thousand rows.</param>
    /// <param name="sequences">Sequences.</param>
    /// <param name="weights">[T] of each.</param>
    /// <param name="residuals">Their rows, sequence after sequence.</param>
    /// <param name="counted">Sequences in the statistics.</param>
    /// <param name="workers">Threads; never changes the result.</param>
    /// <param name="folder">Where the file goes; null: the temporary folder.</param>
    /// <param name="cancellation">Leaves nothing behind.</param>
    /// <exception cref="YapoException">A TopK SAE, or no room for the file.</exception>
    public static (LatentCodes Codes, LatentStatistics Statistics) Encode(
        SaeFile sae, IReadOnlyList<EncodedSequence> sequences, float[][] weights, ResidualStore residuals, int counted, int workers, string? folder = null, CancellationToken cancellation = default)
    {
        LatentStatistics.RefuseTopK(sae);
        var codes = new LatentCodes(folder, sequences.Count);
        var firstRow = 0L;
        try
        {
            var f = sae.Info.Width;
            var statistics = new LatentStatistics(0, new long[f], new double[f], new float[f]);
            var rows = 0L;
            for (var first = 0; first < sequences.Count;)
            {
                var (last, n) = (first, 0);
                for (; last < sequences.Count && (last == first || n + sequences[last].Tokens.Length <= BlockRows) && (first >= counted || last < counted); last++)
                {
                    n += sequences[last].Tokens.Length;
                }

                var steered = Enumerable.Range(first, last - first).SelectMany(i => weights[i]).Index().Where(w => w.Item != 0).Select(w => w.Index).ToArray();
                var entries = EncodeBlock(sae, residuals, firstRow, steered, workers, first < counted ? statistics : null, cancellation);
                rows += first < counted ? steered.Length : 0;
                var at = 0;
                for (var (i, row) = (first, 0); i < last; i++)
                {
                    var byToken = new List<(int Latent, float Value)>?[sequences[i].Tokens.Length];
                    for (; at < steered.Length && steered[at] < row + byToken.Length; at++)
                    {
                        byToken[steered[at] - row] = entries[at];
                    }

                    codes.Append(i, byToken);
                    row += byToken.Length;
                }

                (first, firstRow) = (last, firstRow + n);
            }

            codes.Map();
            return (codes, statistics with { Rows = rows });
        }
        catch (Exception e) when (FileFailure.Is(e))
        {
            codes.Abandon();
            throw new YapoException(
                YapoErrorKind.Io,
                $"cannot write the codes of the training tokens to {codes._stream.Name}: {e.Message} They took {codes.Bytes >> 20} MiB for {firstRow} of {residuals.Rows} tokens; free some space, or put the checkpoint folder (or TMPDIR) on another disk",
                e);
        }
        catch
        {
            codes.Abandon();
            throw;
        }
    }

    /// <summary>The codes of a sequence of <paramref name="tokens"/> tokens: start [T + 1], latents, values.</summary>
    internal (nint Start, nint Latent, nint Value) Of(int sequence, int tokens)
    {
        var start = (int*)(_data + _offset[sequence]);
        var latent = start + tokens + 1;
        return ((nint)start, (nint)latent, (nint)(latent + start[tokens]));
    }

    /// <summary>Active latents of a sequence of T tokens: those of position t are entries Start[t] … Start[t + 1] − 1, ascending, with their z &gt; 0.</summary>
    /// <param name="sequence">Number of the sequence.</param>
    /// <param name="tokens">Its T.</param>
    public (int[] Start, int[] Latent, float[] Value) Read(int sequence, int tokens)
    {
        var (start, latent, value) = Of(sequence, tokens);
        var n = ((int*)start)[tokens];
        return (new Span<int>((void*)start, tokens + 1).ToArray(), new Span<int>((void*)latent, n).ToArray(), new Span<float>((void*)value, n).ToArray());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_data is not null)
        {
            _view!.SafeMemoryMappedViewHandle.ReleasePointer();
            _data = null;
        }

        _view?.Dispose();
        _map?.Dispose();
        _stream.Dispose();
    }

    private void Abandon()
    {
        try
        {
            Dispose();
        }
        catch (Exception e) when (FileFailure.Is(e))
        {
            // what was still buffered found no room either
        }
    }

    /// <summary>Active latents of each of <paramref name="steered"/> rows (counted from <paramref name="firstRow"/>).</summary>
    private static List<(int Latent, float Value)>[] EncodeBlock(
        SaeFile sae, ResidualStore residuals, long firstRow, int[] steered, int workers, LatentStatistics? statistics, CancellationToken cancellation)
    {
        int d = sae.Info.DModel, f = sae.Info.Width;
        var h = new float[steered.Length * d];
        for (var r = 0; r < steered.Length; r++)
        {
            residuals.Slice(firstRow + steered[r], 1).CopyTo(h.AsSpan(r * d));
        }

        var entries = Array.ConvertAll(steered, _ => new List<(int, float)>());
        var z = new float[Math.Min(TileRows, steered.Length) * Math.Min(TileLatents, f)];
        for (var first = 0; first < f; first += TileLatents)
        {
            var n = Math.Min(TileLatents, f - first);
            var enc = new float[n * d];
            sae.ReadEncoder(first, enc);
            for (var row = 0; row < steered.Length; row += TileRows)
            {
                cancellation.ThrowIfCancellationRequested();
                var count = Math.Min(TileRows, steered.Length - row);
                NativeMethods.yapo_sae_encode(
                    d, n, enc, sae.EncBias.AsSpan(first, n), sae.Threshold.AsSpan(first, n), h.AsSpan(row * d, count * d), count, workers, z, out var error).Check(error, cancellation);
                for (var r = 0; r < count; r++)
                {
                    Collect(z.AsSpan(r * n, n), first, entries[row + r], statistics);
                }
            }
        }

        return entries;
    }

    private static void Collect(ReadOnlySpan<float> z, int first, List<(int Latent, float Value)> entries, LatentStatistics? statistics)
    {
        var bits = MemoryMarshal.Cast<float, int>(z); // almost all are zero: skipped a vector at a time
        for (var j = bits.IndexOfAnyExcept(0); j >= 0;)
        {
            if (z[j] > 0)
            {
                entries.Add((first + j, z[j]));
                statistics?.Add(first + j, z[j]);
            }

            var next = bits[(j + 1)..].IndexOfAnyExcept(0);
            j = next < 0 ? -1 : j + 1 + next;
        }
    }

    private void Append(int sequence, List<(int Latent, float Value)>?[] byToken)
    {
        var total = byToken.Sum(e => (long)(e?.Count ?? 0));
        var record = new int[checked((int)(byToken.Length + 1 + (2 * total)))];
        var at = 0;
        for (var t = 0; t < byToken.Length; t++)
        {
            foreach (var (latent, value) in byToken[t] ?? [])
            {
                record[byToken.Length + 1 + at] = latent;
                record[byToken.Length + 1 + total + at] = BitConverter.SingleToInt32Bits(value);
                at++;
            }

            record[t + 1] = at;
        }

        _stream.Write(MemoryMarshal.AsBytes(record.AsSpan()));
        _offset[sequence] = Bytes;
        Bytes += (long)record.Length * sizeof(int);
    }

    private void Map()
    {
        _stream.Flush();
        _map = MemoryMappedFile.CreateFromFile(_stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
        _view = _map.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _data = start + _view.PointerOffset;
    }
}

using YaPO.Llama.Gguf;
using YaPO.Llama.Interop;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sae;

/// <summary>
/// The whole SAEs that a model's contexts encode with, each on the device of its layer once, whoever attaches it. They stay until the model is disposed
/// (and in contexts that use them, until those are). Memory: 4·F·D bytes for the encoder, as much as the file's decoder rows for the decoder.
/// </summary>
internal sealed unsafe class SaeUploads(LlamaModel model) : IDisposable
{
    private const int RowsAtOnce = 1024;

    private readonly Lock gate = new();
    private readonly Dictionary<(string Identity, int Layer), Upload> uploads = [];

    /// <summary>The SAE on this model; rows are read from the file at the first call, decoder rows when they are first wanted.</summary>
    /// <exception cref="YapoException">The SAE is for another width or layer (<see cref="YapoErrorKind.Mismatch"/>), or there is no memory for it.</exception>
    public FullSaeHandle Get(SaeFile sae, bool decoder)
    {
        lock (gate)
        {
            var key = (sae.Identity, sae.Info.Layer);
            if (!uploads.TryGetValue(key, out var upload))
            {
                uploads[key] = upload = Create(sae);
            }

            if (decoder && !upload.HasDecoder)
            {
                Write(sae, sae.ReadDecoder, (first, n, rows) => NativeMethods.yapo_full_sae_set_decoder(upload.Handle, first, n, rows, out var err).Check(err));
                uploads[key] = upload with { HasDecoder = true };
            }

            return upload.Handle;
        }
    }

    /// <summary>Lets go of the weights.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            foreach (var upload in uploads.Values)
            {
                upload.Handle.Dispose();
            }

            uploads.Clear();
        }
    }

    private Upload Create(SaeFile sae)
    {
        var info = sae.Info;
        if (info.Site != "res")
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{sae.Path}: the SAE reads site '{info.Site}'; only SAEs of the residual stream can encode it");
        }

        FullSaeHandle handle;
        fixed (float* bias = sae.EncBias)
        fixed (float* threshold = sae.Threshold)
        {
            var desc = new yapo_full_sae_desc
            {
                struct_size = (uint)sizeof(yapo_full_sae_desc),
                layer = info.Layer,
                d_model = info.DModel,
                width = info.Width,
                activation = (int)(info.Activation == SaeActivation.TopK ? yapo_activation.YAPO_SAE_TOPK : yapo_activation.YAPO_SAE_JUMPRELU),
                topk = info.TopK,
                enc_bias = bias,
                threshold = threshold,
                dec_row_type = (int)RowType(sae.DecType),
            };
            NativeMethods.yapo_full_sae_create(model.Handle, desc, out handle, out var err).Check(err);
        }

        try
        {
            Write(sae, sae.ReadEncoder, (first, n, rows) => NativeMethods.yapo_full_sae_set_encoder(handle, first, n, rows, out var err).Check(err));
            return new Upload(handle, HasDecoder: false);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    private static void Write(SaeFile sae, RowReader read, RowWriter write)
    {
        var d = sae.Info.DModel;
        var rows = new float[Math.Min(RowsAtOnce, sae.Info.Width) * d];
        for (var first = 0; first < sae.Info.Width; first += RowsAtOnce)
        {
            var n = Math.Min(RowsAtOnce, sae.Info.Width - first);
            read(first, rows.AsSpan(0, n * d));
            write(first, n, rows.AsSpan(0, n * d));
        }
    }

    // Rows quantized along d_model in the file are quantized along F on the device, which would round twice: keep those in 16 bits.
    private static yapo_row_type RowType(GgmlType type) => type switch
    {
        GgmlType.F32 => yapo_row_type.YAPO_ROW_F32,
        GgmlType.BF16 => yapo_row_type.YAPO_ROW_BF16,
        _ => yapo_row_type.YAPO_ROW_F16,
    };

    private delegate void RowReader(int first, Span<float> rows);

    private delegate void RowWriter(int first, int n, ReadOnlySpan<float> rows);

    private sealed record Upload(FullSaeHandle Handle, bool HasDecoder);
}

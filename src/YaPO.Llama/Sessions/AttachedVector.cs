using YaPO.Llama.Sae;

namespace YaPO.Llama.Sessions;

/// <summary>How the decoder rows of a sparse vector are kept on the device.</summary>
public enum DecoderRowType
{
    /// <summary>32-bit floats (default).</summary>
    F32 = 0,

    /// <summary>16-bit floats.</summary>
    F16 = 1,

    /// <summary>bfloat16.</summary>
    BF16 = 2,

    /// <summary>8-bit blocks.</summary>
    Q8_0 = 3,
}

/// <summary>
/// One steering vector at one layer in the form the kernel takes. Immutable; two contexts may share it.
/// Dense: <c>h += s·value</c>. Sparse: <c>z = relu(pre)·[pre &gt; threshold]</c> with <c>pre = Encoder·h + EncoderBias</c>, then
/// <c>h += Decoderᵀ max(Σ sᵢ vᵢ, −z)</c> (see <c>yapo.h</c>). With <see cref="Sae"/>, z comes from that whole SAE, as TopK needs.
/// Replacement: <c>h += s (x − h)</c>, x a value, or the SAE's reconstruction of h.
/// </summary>
public sealed class AttachedVector
{
    private AttachedVector(string name, int layer, int width)
    {
        Name = name;
        Layer = layer;
        ModelWidth = width;
    }

    /// <summary>For messages and tables.</summary>
    public string Name { get; }

    /// <summary>Zero-based block whose output is steered.</summary>
    public int Layer { get; }

    /// <summary>D.</summary>
    public int ModelWidth { get; }

    /// <summary>Whether it has SAE rows.</summary>
    public bool IsSparse => !Index.IsEmpty;

    /// <summary>Whether it puts something in the residual's place instead of adding to it.</summary>
    public bool IsReplacement { get; private init; }

    /// <summary>The whole SAE that encodes; null where the vector's own rows do. It must be open when the vector is first attached to a model.</summary>
    public SaeFile? Sae { get; private init; }

    /// <summary>K: entries of a sparse vector; 0 for a dense one.</summary>
    public int SupportSize => Index.Length;

    /// <summary>Vectors of one layer with the same non-zero id act jointly on the union of their supports.</summary>
    public ulong SaeId { get; private init; }

    /// <summary>[K] ascending latents; empty for a dense vector.</summary>
    public ReadOnlyMemory<int> Index { get; private init; }

    /// <summary>[K] or [D].</summary>
    public ReadOnlyMemory<float> Value { get; private init; }

    /// <summary>[K, D].</summary>
    public ReadOnlyMemory<float> Encoder { get; private init; }

    /// <summary>[K].</summary>
    public ReadOnlyMemory<float> EncoderBias { get; private init; }

    /// <summary>[K].</summary>
    public ReadOnlyMemory<float> Threshold { get; private init; }

    /// <summary>[K, D].</summary>
    public ReadOnlyMemory<float> Decoder { get; private init; }

    /// <summary>Storage of <see cref="Decoder"/> on the device.</summary>
    public DecoderRowType DecoderRowType { get; private init; }

    /// <summary>A dense vector: <paramref name="value"/> [D].</summary>
    public static AttachedVector Dense(string name, int layer, ReadOnlyMemory<float> value)
    {
        if (value.IsEmpty)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"vector {name}: a dense vector needs d_model values, found none");
        }

        return new AttachedVector(name, layer, value.Length) { Value = value };
    }

    /// <summary>A sparse vector of K entries with the SAE rows it needs; lengths as in the properties of the same names.</summary>
    public static AttachedVector Sparse(
        string name,
        int layer,
        int modelWidth,
        ReadOnlyMemory<int> index,
        ReadOnlyMemory<float> value,
        ReadOnlyMemory<float> encoder,
        ReadOnlyMemory<float> encoderBias,
        ReadOnlyMemory<float> threshold,
        ReadOnlyMemory<float> decoder,
        ulong saeId = 0,
        DecoderRowType decoderRowType = DecoderRowType.F32)
    {
        var k = index.Length;
        if (k == 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"vector {name}: a sparse vector needs at least one entry, found none");
        }

        Require(name, "value", value.Length, k);
        Require(name, "encoder", encoder.Length, (long)k * modelWidth);
        Require(name, "encoder bias", encoderBias.Length, k);
        Require(name, "threshold", threshold.Length, k);
        Require(name, "decoder", decoder.Length, (long)k * modelWidth);
        return new AttachedVector(name, layer, modelWidth)
        {
            SaeId = saeId,
            Index = index,
            Value = value,
            Encoder = encoder,
            EncoderBias = encoderBias,
            Threshold = threshold,
            Decoder = decoder,
            DecoderRowType = decoderRowType,
        };
    }

    /// <summary>
    /// A sparse vector whose codes come from the whole SAE: what a TopK SAE needs, the same result as <see cref="Sparse"/> to rounding where both apply.
    /// </summary>
    /// <param name="name">For messages.</param>
    /// <param name="sae">Encodes; gives layer and d_model.</param>
    /// <param name="index">[K] ascending latents.</param>
    /// <param name="value">[K].</param>
    /// <param name="decoder">[K, D] rows of these latents.</param>
    /// <param name="decoderRowType">Storage of them on the device.</param>
    public static AttachedVector OfSae(
        string name,
        SaeFile sae,
        ReadOnlyMemory<int> index,
        ReadOnlyMemory<float> value,
        ReadOnlyMemory<float> decoder,
        DecoderRowType decoderRowType = DecoderRowType.F32)
    {
        ArgumentNullException.ThrowIfNull(sae);
        if (index.IsEmpty)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"vector {name}: a sparse vector needs at least one entry, found none");
        }

        Require(name, "value", value.Length, index.Length);
        Require(name, "decoder", decoder.Length, (long)index.Length * sae.Info.DModel);
        return new AttachedVector(name, sae.Info.Layer, sae.Info.DModel)
        {
            SaeId = sae.ToReference().Id,
            Sae = sae,
            Index = index,
            Value = value,
            Decoder = decoder,
            DecoderRowType = decoderRowType,
        };
    }

    /// <summary>At strength 1 puts <paramref name="value"/> [D] in the residual's place: zeros for the zero ablation, the mean residual for the mean ablation.</summary>
    public static AttachedVector Replacement(string name, int layer, ReadOnlyMemory<float> value) =>
        new(name, layer, value.Length) { Value = value, IsReplacement = true };

    /// <summary>At strength 1 puts the SAE's reconstruction, <c>Decᵀ z + dec_bias</c>, in the residual's place.</summary>
    public static AttachedVector Reconstruction(SaeFile sae)
    {
        ArgumentNullException.ThrowIfNull(sae);
        return new AttachedVector("reconstruction", sae.Info.Layer, sae.Info.DModel) { Value = sae.DecBias, Sae = sae, IsReplacement = true };
    }

    private static void Require(string name, string what, long found, long expected)
    {
        if (found != expected)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"vector {name}: {what} has {found} numbers, expected {expected}");
        }
    }
}

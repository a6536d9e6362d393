using System.Globalization;
using YaPO.Llama.Gguf;

namespace YaPO.Llama.Steering;

/// <summary>How a vector acts.</summary>
public enum VectorKind
{
    /// <summary>In the feature space of an SAE: c = max(λ v, −z) on the support, h += Σ c_j W_dec[j].</summary>
    Sparse,

    /// <summary>h += λ v.</summary>
    Dense,
}

/// <summary>The activation of the SAE that a sparse vector lives in.</summary>
public enum SaeActivation
{
    /// <summary>z = relu(pre).</summary>
    Relu,

    /// <summary>z = relu(pre) · [pre &gt; θ], strict.</summary>
    JumpRelu,

    /// <summary>z = relu of the k largest pre; needs the whole encoder.</summary>
    TopK,
}

/// <summary>The SAE whose rows a sparse vector carries: identity, licence and credit travel with them. Empty strings mean unknown.</summary>
public sealed record SaeReference
{
    /// <summary>F, the number of features.</summary>
    public int Width { get; init; }

    /// <summary>Name, such as <c>gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82</c>.</summary>
    public string Name { get; init; } = "";

    /// <summary>Where it came from.</summary>
    public string Source { get; init; } = "";

    /// <summary>Identity of the weights (<see cref="Sae.SaeFile.Identity"/>), lower-case hexadecimal.</summary>
    public string Sha256 { get; init; } = "";

    /// <summary>Licence of the rows.</summary>
    public string License { get; init; } = "";

    /// <summary>Whom to credit.</summary>
    public string Attribution { get; init; } = "";

    /// <summary>Activation.</summary>
    public SaeActivation Activation { get; init; } = SaeActivation.JumpRelu;

    /// <summary>k of a TopK SAE; 0 otherwise.</summary>
    public int TopK { get; init; }

    /// <summary>
    /// Vectors of one layer with equal non-zero ids share rows and act jointly (union of supports, c = max(Σ λ_i v_i, −z)). The first
    /// eight bytes of <see cref="Sha256"/>; 0, never joined, where the identity is unknown.
    /// </summary>
    public ulong Id => Sha256.Length >= 16 && ulong.TryParse(Sha256.AsSpan(0, 16), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var id) ? Math.Max(id, 1) : 0;
}

/// <summary>
/// One steering vector at one layer. D = d_model, K = support size. Arrays are not copied; treat them as read-only.
/// </summary>
public sealed record SteeringVector
{
    /// <summary>Name, unique in the file where there are several.</summary>
    public required string Name { get; init; }

    /// <summary>Sparse or dense.</summary>
    public required VectorKind Kind { get; init; }

    /// <summary>Zero-based block whose output residual is steered.</summary>
    public required int Layer { get; init; }

    /// <summary>v: [K] for sparse, [D] for dense vectors.</summary>
    public required float[] Value { get; init; }

    /// <summary>Per-feature operation; only <c>add</c> exists now.</summary>
    public string Operator { get; init; } = "add";

    /// <summary>In words, what positive strength does.</summary>
    public string PositiveMeans { get; init; } = "";

    /// <summary>The positions it was trained with, and acts on unless told otherwise.</summary>
    public SteeringPositions Positions { get; init; } = SteeringPositions.All;

    /// <summary>λ to use when none is given.</summary>
    public float RecommendedStrength { get; init; } = 1;

    /// <summary>Smallest sensible λ, where known.</summary>
    public float? MinStrength { get; init; }

    /// <summary>Largest sensible λ, where known.</summary>
    public float? MaxStrength { get; init; }

    /// <summary>Mean ‖h‖ at the layer on the training text without BOS, where known.</summary>
    public float? HNormMean { get; init; }

    /// <summary>The SAE of a sparse vector; null for dense ones.</summary>
    public SaeReference? Sae { get; init; }

    /// <summary>Features of the support, ascending, [K]; empty for dense vectors.</summary>
    public int[] Index { get; init; } = [];

    /// <summary>Encoder columns as rows, [K, D].</summary>
    public float[] Enc { get; init; } = [];

    /// <summary>Encoder biases, [K].</summary>
    public float[] EncBias { get; init; } = [];

    /// <summary>JumpReLU thresholds, [K]; 0 makes a plain ReLU.</summary>
    public float[] Threshold { get; init; } = [];

    /// <summary>Decoder rows, [K, D].</summary>
    public float[] Dec { get; init; } = [];

    /// <summary>How <see cref="Dec"/> is stored in a file: F32, BF16 or F16.</summary>
    public GgmlType DecType { get; init; } = GgmlType.F32;

    /// <summary>Share of tokens on which each feature fires, [K], where known.</summary>
    public float[]? Rate { get; init; }

    /// <summary>Largest activation seen of each feature, [K], where known.</summary>
    public float[]? Max { get; init; }

    /// <summary>What each feature stands for, [K], where known.</summary>
    public IReadOnlyList<string>? Labels { get; init; }

    /// <summary>K for sparse vectors, 0 for dense ones.</summary>
    public int K => Index.Length;

    /// <summary>Identity of the SAE for joint action; see <see cref="SaeReference.Id"/>.</summary>
    public ulong SaeId => Sae?.Id ?? 0;

    /// <summary>
    /// The share of Σ|v| that is negative, in 0 … 1. Only negative entries (at λ &gt; 0) depend on the state: a vector without them is
    /// its flattened direction exactly.
    /// </summary>
    public double NegativeMass
    {
        get
        {
            var (negative, all) = (0.0, 0.0);
            foreach (var v in Value)
            {
                all += Math.Abs((double)v);
                negative += Math.Max(0.0, -v);
            }

            return all > 0 ? negative / all : 0;
        }
    }

    /// <summary>
    /// The flattened direction Σ_j v_j W_dec[j], [D]: a baseline to compare with, not what steering does. A dense vector is its own.
    /// </summary>
    public float[] Flatten()
    {
        if (Kind == VectorKind.Dense)
        {
            return Value;
        }

        var d = Dec.Length / K;
        var sum = new double[d];
        for (var j = 0; j < K; j++)
        {
            for (var i = 0; i < d; i++)
            {
                sum[i] += (double)Value[j] * Dec[(j * d) + i];
            }
        }

        return Array.ConvertAll(sum, x => (float)x);
    }

    /// <summary>Checks shapes, order and finiteness.</summary>
    /// <param name="dModel">D.</param>
    /// <param name="what">Opens the messages: file and vector.</param>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>, or <see cref="YapoErrorKind.Unsupported"/> for an operator
    /// this version does not know.</exception>
    public void Validate(int dModel, string what)
    {
        if (Operator != "add")
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{what}: operator '{Operator}' is not supported, expected 'add'");
        }

        if (Layer is < 0 or > 100_000)
        {
            throw Bad($"layer {Layer} is out of range");
        }

        if (!float.IsFinite(RecommendedStrength) || MinStrength is { } a && !float.IsFinite(a) || MaxStrength is { } b && !float.IsFinite(b) || MinStrength > MaxStrength
            || HNormMean is { } h && !(float.IsFinite(h) && h >= 0))
        {
            throw Bad($"strength {RecommendedStrength} ({MinStrength} … {MaxStrength}) or h_norm_mean {HNormMean} is not finite or not in order");
        }

        if (Kind == VectorKind.Dense)
        {
            Check("value", Value, dModel);
            if (Index.Length + Enc.Length + EncBias.Length + Threshold.Length + Dec.Length > 0)
            {
                throw Bad("a dense vector has a value and nothing else");
            }

            return;
        }

        if (K == 0 || Sae is null)
        {
            throw Bad("a sparse vector needs at least one feature and its SAE's width");
        }

        if (Sae.Activation == SaeActivation.TopK && Sae.TopK <= 0)
        {
            throw Bad($"a TopK SAE needs k > 0, found {Sae.TopK}");
        }

        for (var j = 0; j < K; j++)
        {
            if (Index[j] < 0 || Index[j] >= Sae.Width || (j > 0 && Index[j] <= Index[j - 1]))
            {
                throw Bad($"index[{j}] = {Index[j]}: features must ascend and lie in 0 … {Sae.Width - 1}");
            }
        }

        Check("value", Value, K);
        Check("enc", Enc, (long)K * dModel);
        Check("enc_bias", EncBias, K);
        Check("threshold", Threshold, K);
        Check("dec", Dec, (long)K * dModel);
        if (DecType == GgmlType.F16 && Array.Exists(Dec, x => Math.Abs(x) > 65504))
        {
            throw Bad("dec has entries beyond the range of F16; store it as F32 or BF16");
        }

        Check("rate", Rate ?? [], Rate is null ? 0 : K);
        Check("max", Max ?? [], Max is null ? 0 : K);
        if (Labels is not null && Labels.Count != K)
        {
            throw Bad($"{Labels.Count} labels for {K} features");
        }

        void Check(string name, float[] values, long expected)
        {
            if (values.Length != expected)
            {
                throw Bad($"{name} has {values.Length} values, expected {expected}");
            }

            var bad = Array.FindIndex(values, x => !float.IsFinite(x));
            if (bad >= 0)
            {
                throw Bad($"{name}[{bad}] is {values[bad].ToString(CultureInfo.InvariantCulture)}; every value must be finite");
            }
        }

        YapoException Bad(string message) => new(YapoErrorKind.Format, $"{what}: {message}");
    }
}

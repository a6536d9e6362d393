using TorchSharp;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.TorchSharp;

/// <summary>
/// One steered block, with the gradients that libyapo's kernel has. T tokens, P trained latents, s_t multiplier times position weight.
/// <code>
/// sparse: m = s_t v     c = m where m + z &gt; 0, else −z     h' = h + c W_dec         dense: h' = h + s_t v
/// z = pre where pre &gt; max(θ, 0), else 0     pre = W_enc h + b
/// </code>
/// Chosen by a mask, not by max, whose derivative libtorch splits between equal arguments: at v = 0 a silent latent gets no gradient.
/// </summary>
internal sealed class TorchSite : IDisposable
{
    private readonly torch.Tensor? _enc;
    private readonly torch.Tensor? _bias;
    private readonly torch.Tensor? _threshold;
    private readonly torch.Tensor? _dec;
    private readonly Dictionary<int, int> _place;
    private readonly torch.Device _device;

    public TorchSite(int layer, LatentRows rows, int first, torch.Device device)
    {
        (Layer, First, Size, IsDense, _device) = (layer, first, rows.Parameters, rows.IsDense, device);
        _place = rows.Index.Index().ToDictionary(p => p.Item, p => p.Index);
        if (rows.IsDense)
        {
            return;
        }

        using var scope = torch.NewDisposeScope();
        torch.Tensor Kept(float[] values) => torch.tensor(values.ToArray()).to(device); // a copy: libtorch may keep the array
        torch.Tensor Matrix(float[] values) => Kept(values).reshape(rows.Parameters, rows.ModelWidth).DetachFromDisposeScope();
        _dec = Matrix(rows.Dec);
        if (rows.Enc.Length > 0)
        {
            _enc = Matrix(rows.Enc);
            _bias = Kept(rows.EncBias).DetachFromDisposeScope();
            _threshold = Kept(Array.ConvertAll(rows.Threshold, t => Math.Max(t, 0))).DetachFromDisposeScope();
        }
    }

    /// <summary>Block.</summary>
    public int Layer { get; }

    /// <summary>Where its part of v begins.</summary>
    public int First { get; }

    /// <summary>Length of that part: P or D.</summary>
    public int Size { get; }

    /// <summary>Whether it is a dense vector's.</summary>
    public bool IsDense { get; }

    /// <summary>Whether it can encode.</summary>
    public bool Encodes => _enc is not null;

    /// <summary>z [T, P] of h [T, D].</summary>
    public torch.Tensor Encode(torch.Tensor h)
    {
        var pre = h.matmul(_enc!.transpose(0, 1)) + _bias!;
        return torch.where(pre > _threshold!, pre, torch.zeros_like(pre));
    }

    /// <summary>z [T, P] of given codes; latents that are not trained are skipped.</summary>
    public torch.Tensor Dense((int[] Start, int[] Latent, float[] Value) codes, int tokens)
    {
        var (at, z) = (new List<long>(), new List<float>());
        for (var t = 0; t < tokens; t++)
        {
            for (var i = codes.Start[t]; i < codes.Start[t + 1]; i++)
            {
                if (_place.TryGetValue(codes.Latent[i], out var place))
                {
                    at.Add(((long)t * Size) + place);
                    z.Add(codes.Value[i]);
                }
            }
        }

        var zeros = torch.zeros([(long)tokens * Size], torch.ScalarType.Float32, _device);
        var all = at.Count == 0 ? zeros : zeros.scatter(0, torch.tensor(at.ToArray()).to(_device), torch.tensor(z.ToArray()).to(_device));
        return all.reshape(tokens, Size);
    }

    /// <summary>h' [T, D] of h, this block's part of v [Size], s [T, 1] and, where sparse, z.</summary>
    public torch.Tensor Steer(torch.Tensor h, torch.Tensor v, torch.Tensor s, torch.Tensor? z)
    {
        var m = s * v.unsqueeze(0);
        if (z is null)
        {
            return h + m;
        }

        return h + torch.where(m + z > 0, m, -z).matmul(_dec!);
    }

    public void Dispose()
    {
        _enc?.Dispose();
        _bias?.Dispose();
        _threshold?.Dispose();
        _dec?.Dispose();
    }
}

using System.Globalization;
using TorchSharp;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.TorchSharp;

/// <summary>
/// The forward pass of the upper blocks and the head in libtorch, from the description that libyapo's own graph follows: no architecture is named here. T tokens, D d_model.
/// <code>
/// a  = x + PN(attention(RN(x)))     x' = a + PN(down(act(gate RN(a)) · up RN(a)))     logits = cap(H RN(x))
/// </code>
/// A norm or bias without a tensor is left out.
/// </summary>
internal sealed class TorchBlocks : IDisposable
{
    private readonly UpperShape _shape;
    private readonly UpperBlock[] _blocks;
    private readonly TorchWeights _weights;
    private readonly TorchRotation _rotation;

    public TorchBlocks(UpperModel model, torch.Device device, TorchPrecision precision)
    {
        _shape = model.Shape;
        _blocks = [.. Enumerable.Range(0, _shape.LayerCount).Select(il => il > _shape.Layer ? model.Block(il) : default)];
        _weights = new TorchWeights(model, device, precision == TorchPrecision.BF16 ? torch.ScalarType.BFloat16 : torch.ScalarType.Float32);
        float[]? factors = null;
        if (model.Tensors.FirstOrDefault(t => t.Name == "rope_freqs.weight") is { } frequencies)
        {
            factors = new float[frequencies.Row];
            model.ReadRows(frequencies, 0, factors);
        }

        _rotation = new TorchRotation(_shape, factors, device);
    }

    /// <summary>Makes room for sequences of T tokens; before anything of them is computed.</summary>
    public void Reserve(int tokens) => _rotation.Reserve(tokens);

    /// <summary>Block <paramref name="il"/>: [T, D] → [T, D].</summary>
    public torch.Tensor Run(int il, torch.Tensor x)
    {
        var p = string.Create(CultureInfo.InvariantCulture, $"blk.{il}.");
        x = PostNorm(Attention(p, _blocks[il], Norm(x, _weights[p + "attn_norm.weight"])), p + "post_attention_norm.weight") + x;
        var normed = Norm(x, _weights[p + "ffn_norm.weight"]);
        var fed = Product(Activation(Product(normed, p + "ffn_gate.weight")) * Product(normed, p + "ffn_up.weight"), p + "ffn_down.weight");
        return PostNorm(fed, p + "post_ffw_norm.weight") + x;
    }

    /// <summary>log p of a target at each of n rows [n, D]: [n].</summary>
    public torch.Tensor LogProbabilities(torch.Tensor x, torch.Tensor targets)
    {
        var head = _weights.Find("output.weight") is null ? "token_embd.weight" : "output.weight";
        var logits = Capped(Product(Norm(x, _weights["output_norm.weight"]), head), _shape.LogitCap);
        return logits.log_softmax(1).gather(1, targets.unsqueeze(1)).squeeze(1);
    }

    public void Dispose()
    {
        _weights.Dispose();
        _rotation.Dispose();
    }

    private torch.Tensor Attention(string p, UpperBlock block, torch.Tensor x)
    {
        var (tokens, heads, keyHeads, width) = (x.shape[0], _shape.HeadCount, _shape.KeyValueHeadCount, _shape.HeadWidth);
        torch.Tensor Heads(string name, int count) => Biased(Product(x, $"{p}attn_{name}.weight"), $"{p}attn_{name}.bias").reshape(tokens, count, width).transpose(0, 1);
        torch.Tensor Normed(torch.Tensor h, string name) => _weights.Find($"{p}attn_{name}_norm.weight") is { } weight ? Norm(h, weight) : h;
        torch.Tensor Shared(torch.Tensor h) => h.unsqueeze(1).expand(keyHeads, heads / keyHeads, tokens, width).reshape(heads, tokens, width);

        var q = _rotation.Rotate(Normed(Heads("q", heads), "q"), block);
        var k = _rotation.Rotate(Normed(Heads("k", keyHeads), "k"), block);
        var scores = Capped(q.matmul(Shared(k).transpose(1, 2)) * _shape.AttentionScale, _shape.AttentionCap) + _rotation.Mask(block, (int)tokens);
        var mixed = scores.softmax(2).matmul(Shared(Heads("v", keyHeads)));
        return Product(mixed.transpose(0, 1).reshape(tokens, heads * width), p + "attn_output.weight");
    }

    // x Wᵀ, in the precision of W; F32 in and out.
    private torch.Tensor Product(torch.Tensor x, string name)
    {
        var w = _weights[name].transpose(0, 1);
        return w.dtype == torch.ScalarType.Float32 ? x.matmul(w) : x.to_type(w.dtype).matmul(w).to_type(torch.ScalarType.Float32);
    }

    private torch.Tensor Biased(torch.Tensor x, string name) => _weights.Find(name) is { } bias ? x + bias : x;

    private torch.Tensor PostNorm(torch.Tensor x, string name) => _weights.Find(name) is { } weight ? Norm(x, weight) : x;

    private torch.Tensor Norm(torch.Tensor x, torch.Tensor weight) => x * ((x * x).mean([-1L], true) + _shape.NormEpsilon).rsqrt() * weight;

    // GELU in its tanh form is x σ(2u), u = √(2/π) (x + 0.044715 x³).
    private torch.Tensor Activation(torch.Tensor x) => _shape.UsesSilu ? x * x.sigmoid() : x * (x * ((x * x * (2 * 0.79788456080286535588 * 0.044715)) + (2 * 0.79788456080286535588))).sigmoid();

    private static torch.Tensor Capped(torch.Tensor x, float cap) => cap > 0 ? (x / cap).tanh() * cap : x;
}

using TorchSharp;
using YaPO.Llama.Training.Vectors;

namespace YaPO.Llama.TorchSharp;

/// <summary>
/// Rotary embedding and causal masks, by position: tables for as many positions as the longest sequence so far. Angles are computed in double precision.
/// <code>angle(p, i) = p · scale · θ^(−2i / head width) / factor_i        (a, b) → (a cos − b sin, a sin + b cos)</code>
/// </summary>
internal sealed class TorchRotation(UpperShape shape, float[]? factors, torch.Device device) : IDisposable
{
    private readonly Dictionary<(float Theta, float Scale), (torch.Tensor Cos, torch.Tensor Sin)> _tables = [];
    private readonly Dictionary<int, torch.Tensor> _masks = [];
    private int _positions;

    /// <summary>Makes room for sequences of T tokens.</summary>
    public void Reserve(int tokens)
    {
        if (tokens > _positions)
        {
            Dispose();
            _positions = tokens;
        }
    }

    /// <summary>Rotates heads [H, T, head width].</summary>
    public torch.Tensor Rotate(torch.Tensor heads, UpperBlock block)
    {
        var (count, tokens, half) = (heads.shape[0], heads.shape[1], shape.HeadWidth / 2);
        var (cos, sin) = Table(block);
        (cos, sin) = (cos.narrow(0, 0, tokens), sin.narrow(0, 0, tokens));
        var pair = shape.InterleavedRotation ? 3 : 2;
        var parts = shape.InterleavedRotation ? heads.reshape(count, tokens, half, 2) : heads.reshape(count, tokens, 2, half);
        var (a, b) = (parts.narrow(pair, 0, 1).squeeze(pair), parts.narrow(pair, 1, 1).squeeze(pair));
        var rotated = new List<torch.Tensor> { ((a * cos) - (b * sin)).unsqueeze(pair), ((a * sin) + (b * cos)).unsqueeze(pair) };
        return torch.cat(rotated, pair).reshape(count, tokens, shape.HeadWidth);
    }

    /// <summary>0 where a position may look, −∞ elsewhere, [T, T]: at or before, and fewer than the window back.</summary>
    public torch.Tensor Mask(UpperBlock block, int tokens)
    {
        if (!_masks.TryGetValue(block.Window, out var mask))
        {
            var values = new float[(long)_positions * _positions];
            for (var query = 0; query < _positions; query++)
            {
                for (var key = 0; key < _positions; key++)
                {
                    values[((long)query * _positions) + key] = key <= query && (block.Window == 0 || query - key < block.Window) ? 0 : float.NegativeInfinity;
                }
            }

            _masks[block.Window] = mask = Kept(values, _positions, _positions);
        }

        return mask.narrow(0, 0, tokens).narrow(1, 0, tokens);
    }

    public void Dispose()
    {
        foreach (var (cos, sin) in _tables.Values)
        {
            cos.Dispose();
            sin.Dispose();
        }

        foreach (var mask in _masks.Values)
        {
            mask.Dispose();
        }

        _tables.Clear();
        _masks.Clear();
    }

    private (torch.Tensor Cos, torch.Tensor Sin) Table(UpperBlock block)
    {
        var key = (block.Theta, block.RopeScale);
        if (_tables.TryGetValue(key, out var table))
        {
            return table;
        }

        var half = shape.HeadWidth / 2;
        var (cos, sin) = (new float[_positions * half], new float[_positions * half]);
        for (var p = 0; p < _positions; p++)
        {
            for (var i = 0; i < half; i++)
            {
                var angle = p * (double)block.RopeScale * Math.Pow(block.Theta, -2.0 * i / shape.HeadWidth) / (factors?[i] ?? 1);
                (sin[(p * half) + i], cos[(p * half) + i]) = ((float)Math.Sin(angle), (float)Math.Cos(angle));
            }
        }

        return _tables[key] = (Kept(cos, _positions, half), Kept(sin, _positions, half));
    }

    private torch.Tensor Kept(float[] values, int rows, int columns)
    {
        using var scope = torch.NewDisposeScope();
        return torch.tensor(values).reshape(rows, columns).to(device).DetachFromDisposeScope();
    }
}

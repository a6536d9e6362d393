using System.Numerics;
using System.Runtime.InteropServices;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Evaluation.Controls;

/// <summary>How far a vector moves the residual stream at a strength, over rows h.</summary>
/// <param name="Mean">Mean ‖Δh‖ after clipping.</param>
/// <param name="Relative">Mean ‖Δh‖/‖h‖.</param>
/// <param name="Clipped">Share of rows in which an active latent is clipped: 0 &lt; z_j &lt; −λ v_j for some j.</param>
public sealed record Shift(double Mean, double Relative, double Clipped);

/// <summary>
/// Measures ‖Δh‖, Δh = Σ max(λ v_j, −z_j) W_dec[j], on residual rows [N, D] of a layer. Written out in managed code: hundreds of candidates are matched
/// without touching the model.
/// </summary>
public sealed class ShiftMeter
{
    private readonly float[] _rows;
    private readonly int _width;
    private readonly Dictionary<(SteeringVector, double), double> _means = new(new ReferenceKey());
    private readonly Dictionary<SteeringVector, float[]> _codes = new(ReferenceEqualityComparer.Instance);
    private readonly Lock _gate = new();

    private readonly SaeFile? _sae;
    private float[]? _least;

    /// <summary>Takes rows h [N, D] as the layer's steering reads them, and the whole SAE where vectors are in the latents of a TopK one.</summary>
    public ShiftMeter(float[] rows, int width, SaeFile? sae = null) => (_rows, _width, _sae) = (rows, width, sae);

    /// <summary>N.</summary>
    public int Rows => _rows.Length / _width;

    /// <summary>The rows [N, D].</summary>
    public ReadOnlySpan<float> Residuals => _rows;

    /// <summary>Mean ‖Δh‖ of a vector at a strength.</summary>
    public double Mean(SteeringVector vector, double strength)
    {
        lock (_gate)
        {
            if (_means.TryGetValue((vector, strength), out var known))
            {
                return known;
            }
        }

        var mean = Measure(vector, strength).Mean;
        lock (_gate)
        {
            return _means[(vector, strength)] = mean;
        }
    }

    /// <summary>Everything about a vector at a strength.</summary>
    public Shift Measure(SteeringVector vector, double strength)
    {
        ArgumentNullException.ThrowIfNull(vector);
        var (n, d) = (Rows, _width);
        var flat = Scaled(vector.Flatten(), (float)strength);
        var codes = vector.Kind == VectorKind.Dense || NothingToClip(vector, strength) ? [] : Codes(vector);
        var delta = new float[d];
        var (mean, relative, clipped) = (0.0, 0.0, 0);
        for (var r = 0; r < n; r++)
        {
            // Δh = Σ c_j dec_j = λ Σ v_j dec_j + Σ (c_j − λ v_j) dec_j, whichever has fewer terms. Where nearly all is clipped, the second form would leave rounding that grows with λ.
            var asked = codes.Length == 0 ? 0 : Enumerable.Range(0, vector.K).Count(j => (float)strength * vector.Value[j] < -codes[(r * vector.K) + j]);
            var direct = 2 * asked > vector.K;
            if (direct)
            {
                delta.AsSpan().Clear();
            }
            else
            {
                flat.CopyTo(delta, 0);
            }

            var any = false;
            for (var j = 0; j < (asked > 0 ? vector.K : 0); j++)
            {
                var wanted = (float)strength * vector.Value[j];
                var z = codes[(r * vector.K) + j];
                var less = wanted < -z;
                any |= less && z > 0;
                var coefficient = direct ? (less ? -z : wanted) : less ? -z - wanted : 0;
                if (coefficient != 0)
                {
                    AddScaled(delta, vector.Dec.AsSpan(j * d, d), coefficient);
                }
            }

            clipped += any ? 1 : 0;
            var moved = Math.Sqrt(Square(delta));
            mean += moved;
            relative += moved / Math.Sqrt(Math.Max(Square(_rows.AsSpan(r * d, d)), 1e-30));
        }

        return new Shift(mean / n, relative / n, clipped / (double)n);
    }

    /// <summary>The strength at which a vector's mean ‖Δh‖ is <paramref name="shift"/>: exact for dense ones, else to 0.1 %.</summary>
    /// <param name="vector">In the residual stream of these rows.</param>
    /// <param name="shift">Wanted mean ‖Δh‖.</param>
    /// <param name="sign">Of the strength: below 0 the strength that moves so far the other way, which is another where entries are clipped.</param>
    /// <exception cref="YapoException">The vector cannot move the stream that far: it only removes what is active.</exception>
    public double StrengthFor(SteeringVector vector, double shift, int sign = 1)
    {
        if (shift <= 0)
        {
            return 0;
        }

        // ‖Δh‖ grows with the strength, nearly in proportion: two or three secant steps inside a bracket find it.
        var way = sign < 0 ? -1.0 : 1.0;
        var (low, atLow, high, atHigh) = (0.0, 0.0, 1.0, Mean(vector, way));
        for (var doubled = 0; atHigh < shift; doubled++)
        {
            if (doubled == 40 || (doubled > 0 && atHigh > 0 && atHigh == atLow)) // all that is active is removed already
            {
                throw new YapoException(YapoErrorKind.Failed, $"vector {vector.Name} moves the residual stream by {atHigh:g3} at most, {shift:g3} was to be matched");
            }

            (low, atLow) = (high, atHigh);
            high *= 2;
            atHigh = Mean(vector, way * high);
        }

        for (var i = 0; i < 40 && atHigh - atLow > 1e-9 * shift; i++)
        {
            var part = Math.Clamp((shift - atLow) / (atHigh - atLow), 0.02, 0.98);
            var middle = low + (part * (high - low));
            var at = Mean(vector, way * middle);
            if (Math.Abs(at - shift) <= 1e-3 * shift)
            {
                return way * middle;
            }

            if (at < shift)
            {
                (low, atLow) = (middle, at);
            }
            else
            {
                (high, atHigh) = (middle, at);
            }
        }

        return way * high;
    }

    /// <summary>Codes z [N] of one latent on the rows.</summary>
    public void Encode(ReadOnlySpan<float> enc, float bias, float threshold, Span<float> z)
    {
        for (var r = 0; r < Rows; r++)
        {
            var pre = Dot(enc, _rows.AsSpan(r * _width, _width)) + bias;
            z[r] = pre > threshold ? Math.Max(0, pre) : 0;
        }
    }

    /// <summary>Codes z [N] of one latent of a TopK SAE: those that are among a row's k largest, and above 0.</summary>
    /// <exception cref="YapoException">The meter was made without that SAE.</exception>
    public void EncodeTopK(ReadOnlySpan<float> enc, float bias, Span<float> z)
    {
        lock (_gate)
        {
            _least ??= SaeFit.KthLargest(_sae ?? throw new YapoException(YapoErrorKind.InvalidArgument, "codes of a TopK SAE need the whole SAE"), _rows, Rows);
        }

        // The k-th largest is summed in another order there; without a margin rounding alone would drop it.
        const float margin = 1e-5f;
        Encode(enc, bias, float.NegativeInfinity, z);
        for (var r = 0; r < Rows; r++)
        {
            z[r] = z[r] >= _least[r] - (margin * Math.Abs(_least[r])) ? z[r] : 0;
        }
    }

    private static bool NothingToClip(SteeringVector vector, double strength) => Array.TrueForAll(vector.Value, v => v * strength >= 0);

    /// <summary>z [N, K] of the latents that may be clipped.</summary>
    private float[] Codes(SteeringVector vector)
    {
        lock (_gate)
        {
            if (_codes.TryGetValue(vector, out var known))
            {
                return known;
            }
        }

        var codes = new float[Rows * vector.K];
        var column = new float[Rows];
        for (var j = 0; j < vector.K; j++)
        {
            var enc = vector.Enc.AsSpan(j * _width, _width);
            if (vector.Sae?.Activation == SaeActivation.TopK)
            {
                EncodeTopK(enc, vector.EncBias[j], column);
            }
            else
            {
                Encode(enc, vector.EncBias[j], vector.Sae?.Activation == SaeActivation.Relu ? 0 : vector.Threshold[j], column);
            }

            for (var r = 0; r < column.Length; r++)
            {
                codes[(r * vector.K) + j] = column[r];
            }
        }

        lock (_gate)
        {
            return _codes[vector] = codes;
        }
    }

    private static float[] Scaled(float[] values, float by) => Array.ConvertAll(values, x => x * by);

    private static void AddScaled(Span<float> target, ReadOnlySpan<float> values, float by)
    {
        var wide = MemoryMarshal.Cast<float, Vector<float>>(target);
        var added = MemoryMarshal.Cast<float, Vector<float>>(values);
        for (var i = 0; i < wide.Length; i++)
        {
            wide[i] += added[i] * by;
        }

        for (var i = wide.Length * Vector<float>.Count; i < target.Length; i++)
        {
            target[i] += values[i] * by;
        }
    }

    private static float Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        var wideA = MemoryMarshal.Cast<float, Vector<float>>(a);
        var wideB = MemoryMarshal.Cast<float, Vector<float>>(b);
        var sum = Vector<float>.Zero;
        for (var i = 0; i < wideA.Length; i++)
        {
            sum += wideA[i] * wideB[i];
        }

        var total = Vector.Sum(sum);
        for (var i = wideA.Length * Vector<float>.Count; i < a.Length; i++)
        {
            total += a[i] * b[i];
        }

        return total;
    }

    private static double Square(ReadOnlySpan<float> values) => Dot(values, values);

    private sealed class ReferenceKey : IEqualityComparer<(SteeringVector Vector, double Strength)>
    {
        public bool Equals((SteeringVector Vector, double Strength) x, (SteeringVector Vector, double Strength) y) => ReferenceEquals(x.Vector, y.Vector) && x.Strength.Equals(y.Strength);

        public int GetHashCode((SteeringVector Vector, double Strength) key) => HashCode.Combine(System.Runtime.CompilerServices.RuntimeHelpers.GetHashCode(key.Vector), key.Strength);
    }
}

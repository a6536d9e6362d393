using YaPO.Llama.Sae;

namespace YaPO.Llama.Tests.Training;

/// <summary>
/// The loss and the gradients of a JumpReLU SAE, written from the formulas: double precision, scalar, dense. The loss can be evaluated with
/// frozen gates (which latents of which rows are active), where it is smooth and finite differences mean something. Parameters are those that
/// training moves: biases belong to rows with the mean subtracted, pre = enc·(h − mean) + b.
/// </summary>
internal sealed class SaeOracle(SaeWeights w, float[] rows, float[] mean, double sparsity, double bandwidth)
{
    private readonly int _d = mean.Length;
    private readonly int _f = w.EncBias.Length;
    private readonly int _n = rows.Length / mean.Length;

    public double[] Enc { get; } = [.. w.Enc.ToArray().Select(x => (double)x)];

    public double[] EncBias { get; } = [.. w.EncBias.ToArray().Select((b, j) => b + Enumerable.Range(0, mean.Length).Sum(i => (double)w.Enc.Span[(j * mean.Length) + i] * mean[i]))];

    public double[] Theta { get; } = [.. w.Threshold.ToArray().Select(x => (double)x)];

    public double[] Dec { get; } = [.. w.Dec.ToArray().Select(x => (double)x)];

    public double[] DecBias { get; } = [.. w.DecBias.ToArray().Select((b, i) => b - (double)mean[i])];

    public double Variance => Enumerable.Range(0, _n * _d).Sum(i => Math.Pow(rows[i] - (double)mean[i % _d], 2)) / _n;

    private double Row(int n, int i) => rows[(n * _d) + i] - (double)mean[i];

    public double Pre(int n, int j)
    {
        var sum = EncBias[j];
        for (var i = 0; i < _d; i++)
        {
            sum += Enc[(j * _d) + i] * Row(n, i);
        }

        return sum;
    }

    public bool[] Gates() => [.. from n in Enumerable.Range(0, _n) from j in Enumerable.Range(0, _f) select Pre(n, j) > Theta[j]];

    /// <summary>Smallest distance of a pre-activation to its threshold or to an edge of the window: how far gates are from flipping.</summary>
    public double Margin() => Enumerable.Range(0, _n).SelectMany(n => Enumerable.Range(0, _f).Select(j => Pre(n, j) - Theta[j]))
        .Min(x => Math.Min(Math.Abs(x), Math.Abs(Math.Abs(x) - (bandwidth / 2))));

    public double[] Error(int n, bool[] gates)
    {
        var e = new double[_d];
        for (var i = 0; i < _d; i++)
        {
            e[i] = DecBias[i] - Row(n, i);
        }

        for (var j = 0; j < _f; j++)
        {
            if (gates[(n * _f) + j])
            {
                var z = Pre(n, j);
                for (var i = 0; i < _d; i++)
                {
                    e[i] += z * Dec[(j * _d) + i];
                }
            }
        }

        return e;
    }

    public double Loss(bool[] gates) => (Enumerable.Range(0, _n).Sum(n => Error(n, gates).Sum(x => x * x)) / Variance / _n) + (sparsity * gates.Count(g => g) / _n);

    /// <summary>dL/d log θ by the straight-through rule of Rajamanoharan et al. 2024, eqs. 11–12.</summary>
    public double[] LogThetaGradient()
    {
        var gates = Gates();
        var g = new double[_f];
        for (var n = 0; n < _n; n++)
        {
            var e = Error(n, gates);
            for (var j = 0; j < _f; j++)
            {
                if (Math.Abs(Pre(n, j) - Theta[j]) < bandwidth / 2)
                {
                    var dz = 2 / (_n * Variance) * Enumerable.Range(0, _d).Sum(i => e[i] * Dec[(j * _d) + i]);
                    g[j] += ((-Theta[j] / bandwidth * dz) - (sparsity / (_n * bandwidth))) * Theta[j];
                }
            }
        }

        return g;
    }
}

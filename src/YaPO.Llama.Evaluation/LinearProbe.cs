namespace YaPO.Llama.Evaluation;

/// <summary>
/// A linear read-out (multinomial logistic regression, L2-regularized, on standardized inputs). Where it cannot read a property on topics it never
/// saw, no steering vector at that layer can carry it.
/// </summary>
public sealed class LinearProbe
{
    private readonly double[] _mean;
    private readonly double[] _scale;
    private readonly double[,] _weights;
    private readonly int _classes;

    private LinearProbe(double[] mean, double[] scale, double[,] weights, int classes) => (_mean, _scale, _weights, _classes) = (mean, scale, weights, classes);

    /// <summary>Fits by full-batch gradient descent with momentum; deterministic.</summary>
    /// <param name="rows">Inputs, all of one width.</param>
    /// <param name="labels">Class of each row, 0 to <paramref name="classes"/> − 1.</param>
    /// <param name="classes">Number of classes.</param>
    public static LinearProbe Fit(IReadOnlyList<float[]> rows, IReadOnlyList<int> labels, int classes)
    {
        var d = rows[0].Length;
        var mean = new double[d];
        var scale = new double[d];
        foreach (var row in rows)
        {
            for (var i = 0; i < d; i++)
            {
                mean[i] += row[i] / rows.Count;
            }
        }

        foreach (var row in rows)
        {
            for (var i = 0; i < d; i++)
            {
                scale[i] += (row[i] - mean[i]) * (row[i] - mean[i]) / rows.Count;
            }
        }

        for (var i = 0; i < d; i++)
        {
            scale[i] = 1 / Math.Sqrt(scale[i] + 1e-9);
        }

        var probe = new LinearProbe(mean, scale, new double[classes, d + 1], classes);
        var inputs = rows.Select(probe.Standardize).ToArray();
        var velocity = new double[classes, d + 1];
        var gradient = new double[classes, d + 1];
        for (var step = 0; step < 300; step++)
        {
            Array.Clear(gradient);
            for (var n = 0; n < inputs.Length; n++)
            {
                var p = probe.Probabilities(inputs[n]);
                for (var c = 0; c < classes; c++)
                {
                    var error = (p[c] - (labels[n] == c ? 1 : 0)) / inputs.Length;
                    for (var i = 0; i <= d; i++)
                    {
                        gradient[c, i] += error * inputs[n][i];
                    }
                }
            }

            for (var c = 0; c < classes; c++)
            {
                for (var i = 0; i <= d; i++)
                {
                    velocity[c, i] = (0.9 * velocity[c, i]) - (0.05 * (gradient[c, i] + (1e-2 * probe._weights[c, i])));
                    probe._weights[c, i] += velocity[c, i];
                }
            }
        }

        return probe;
    }

    /// <summary>The likeliest class.</summary>
    public int Predict(float[] row)
    {
        var p = Probabilities(Standardize(row));
        return Array.IndexOf(p, p.Max());
    }

    private double[] Standardize(float[] row) => [.. row.Select((x, i) => (x - _mean[i]) * _scale[i]), 1];

    private double[] Probabilities(double[] input)
    {
        var p = new double[_classes];
        for (var c = 0; c < _classes; c++)
        {
            for (var i = 0; i < input.Length; i++)
            {
                p[c] += _weights[c, i] * input[i];
            }
        }

        var most = p.Max();
        var total = 0.0;
        for (var c = 0; c < _classes; c++)
        {
            total += p[c] = Math.Exp(p[c] - most);
        }

        for (var c = 0; c < _classes; c++)
        {
            p[c] /= total;
        }

        return p;
    }
}

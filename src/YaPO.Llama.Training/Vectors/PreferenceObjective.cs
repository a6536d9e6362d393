using System.Collections.Concurrent;

namespace YaPO.Llama.Training.Vectors;

/// <summary>Outcome on a set of pairs.</summary>
/// <param name="Loss">Mean of −log σ(d β (Δ_w − Δ_l)); ln 2 where the vector does nothing.</param>
/// <param name="Margin">Mean of d (Δ_w − Δ_l), nats.</param>
/// <param name="Accuracy">Share of pairs with a positive margin.</param>
public readonly record struct PreferenceResult(double Loss, double Margin, double Accuracy);

/// <summary>
/// The bi-directional preference loss of YaPO and BiPO (arXiv 2601.08441):
/// <code>
/// Δ_y = log π_{v,d}(y|x) − log π_0(y|x)     loss = −log σ( d β (Δ_w − Δ_l) ), mean over the batch
/// dloss/dv = −σ(−m) d β (∂log π(y_w)/∂v − ∂log π(y_l)/∂v) / B     with m = d β (Δ_w − Δ_l)
/// </code>
/// π_0 is the same network at multiplier 0, computed once by the same engine, so that the loss at v = 0 is ln 2 exactly. Pair i is the engine's
/// sequences 2i (chosen) and 2i + 1 (rejected). Pairs are computed by any worker and summed in order.
/// </summary>
public sealed class PreferenceObjective(IPairEngine engine, double beta)
{
    private readonly ConcurrentDictionary<int, double> _reference = new();

    /// <summary>Loss on <paramref name="pairs"/>; where <paramref name="gradient"/> is not empty it is overwritten with dloss/dv.</summary>
    public PreferenceResult Evaluate(ReadOnlySpan<int> pairs, float[] v, double direction, Span<float> gradient = default, CancellationToken cancellation = default)
    {
        var work = pairs.ToArray();
        var withGradient = gradient.Length > 0;
        var margins = new double[work.Length];
        var parts = new float[withGradient ? work.Length : 0][];
        var free = new ConcurrentBag<int>(Enumerable.Range(0, engine.Workers));
        try
        {
            Parallel.For(0, work.Length, new ParallelOptions { MaxDegreeOfParallelism = engine.Workers, CancellationToken = cancellation }, i =>
            {
                if (!free.TryTake(out var worker))
                {
                    throw new InvalidOperationException("more calls at once than workers");
                }

                try
                {
                    var (chosen, rejected) = (2 * work[i], (2 * work[i]) + 1);
                    var reference = Reference(worker, chosen) - Reference(worker, rejected);
                    double steered;
                    if (withGradient)
                    {
                        var part = parts[i] = new float[v.Length];
                        steered = engine.LogProbGradient(worker, chosen, v, direction, 1, part) - engine.LogProbGradient(worker, rejected, v, direction, -1, part);
                    }
                    else
                    {
                        steered = engine.LogProb(worker, chosen, v, direction) - engine.LogProb(worker, rejected, v, direction);
                    }

                    margins[i] = direction * (steered - reference);
                }
                finally
                {
                    free.Add(worker);
                }
            });
        }
        catch (AggregateException e) when (e.InnerExceptions.Count > 0)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }

        if (withGradient)
        {
            gradient.Clear();
            for (var i = 0; i < work.Length; i++)
            {
                var factor = (float)(-Sigmoid(-beta * margins[i]) * direction * beta / work.Length);
                var part = parts[i];
                for (var k = 0; k < gradient.Length; k++)
                {
                    gradient[k] += factor * part[k];
                }
            }
        }

        return new PreferenceResult(margins.Average(m => Softplus(-beta * m)), margins.Average(), margins.Count(m => m > 0) / (double)margins.Length);
    }

    private double Reference(int worker, int sequence)
    {
        if (!_reference.TryGetValue(sequence, out var value))
        {
            _reference[sequence] = value = engine.LogProb(worker, sequence, default, 0);
        }

        return value;
    }

    private static double Sigmoid(double x) => x >= 0 ? 1 / (1 + Math.Exp(-x)) : Math.Exp(x) / (1 + Math.Exp(x));

    private static double Softplus(double x) => x > 0 ? x + Math.Log(1 + Math.Exp(-x)) : Math.Log(1 + Math.Exp(x));
}

using YaPO.Llama.Models;
using YaPO.Llama.Sessions;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Evaluation;

/// <summary>What two steerings do at one layer.</summary>
/// <param name="Layer">Zero-based block.</param>
/// <param name="Change">Mean ‖Δh‖ of the reference.</param>
/// <param name="Gap">Σ‖Δh − Δh'‖ / Σ‖Δh‖; 0 where the reference does nothing either.</param>
public sealed record LayerDistance(int Layer, double Change, double Gap);

/// <summary>How far a steering is from a reference on a text, every position but BOS steered and measured.</summary>
/// <param name="Tokens">Positions measured.</param>
/// <param name="Kl">Mean KL(reference ‖ other) of the next-token distributions, nats per token.</param>
/// <param name="Layers">The layers that the reference steers, ascending.</param>
public sealed record SteeringDistance(int Tokens, double Kl, IReadOnlyList<LayerDistance> Layers);

/// <summary>
/// Compares other steerings of a model with one reference, teacher-forced on given text. Positions in the settings do not count: a plain text has no
/// answer in it, so every position but BOS is steered.
/// </summary>
public sealed class SteeringDistanceMeter : IDisposable
{
    private readonly LlamaModel _model;
    private readonly int[][] _windows;
    private readonly SteeringSetting[] _reference;
    private readonly int[] _layers;
    private readonly LlamaContext _referenceContext;
    private readonly LlamaContext _otherContext;
    private readonly DecodeBatch _batch = new();

    /// <summary>Opens two contexts on a model that stays the caller's.</summary>
    /// <param name="model">The model.</param>
    /// <param name="windows">Token windows, each evaluated from an empty cache.</param>
    /// <param name="reference">What the others are compared with.</param>
    /// <param name="threads">0: the number of physical cores.</param>
    /// <exception cref="YapoException">The reference does not fit the model.</exception>
    public SteeringDistanceMeter(LlamaModel model, IReadOnlyList<int[]> windows, IReadOnlyList<SteeringSetting> reference, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(model);
        (_model, _windows, _reference) = (model, [.. windows], [.. reference]);
        if (_windows.Length == 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "there is no text to compare on");
        }

        _layers = [.. _reference.Select(s => s.Vector.Layer).Distinct().Order()];
        var longest = _windows.Max(w => w.Length);
        var options = new ContextOptions { ContextSize = longest, BatchSize = longest, Threads = threads };
        _referenceContext = new LlamaContext(model, options);
        try
        {
            _otherContext = new LlamaContext(model, options);
            Attach(_referenceContext, _reference);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Measures one other steering.</summary>
    /// <exception cref="YapoException">It does not fit the model.</exception>
    public SteeringDistance Measure(IReadOnlyList<SteeringSetting> other, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(other);
        Attach(_otherContext, other);
        var kl = 0.0;
        var tokens = 0;
        var (change, gap) = (new double[_layers.Length], new double[_layers.Length]);
        var (p, q) = (new float[_model.Info.VocabularySize], new float[_model.Info.VocabularySize]);
        foreach (var window in _windows)
        {
            var first = window[0] == _model.Info.BosToken ? 1 : 0;
            Decode(_referenceContext, window, first, _reference, cancellation);
            Decode(_otherContext, window, first, other, cancellation);
            for (var t = first; t < window.Length; t++)
            {
                _referenceContext.CopyLogits(t, p);
                _otherContext.CopyLogits(t, q);
                kl += Divergence(p, q);
                tokens++;
            }

            AddChanges(window.Length, first, change, gap);
        }

        return new SteeringDistance(
            tokens, kl / Math.Max(1, tokens), [.. _layers.Select((layer, i) => new LayerDistance(layer, change[i] / Math.Max(1, tokens), change[i] > 0 ? gap[i] / change[i] : 0))]);
    }

    /// <summary>Releases the contexts.</summary>
    public void Dispose()
    {
        _referenceContext.Dispose();
        _otherContext?.Dispose();
    }

    /// <summary>KL(p ‖ q) of two rows of logits, in double precision: Σ softmax(p) (p − q) − log Σ e^p + log Σ e^q.</summary>
    internal static double Divergence(ReadOnlySpan<float> p, ReadOnlySpan<float> q)
    {
        double maxP = float.NegativeInfinity, maxQ = float.NegativeInfinity;
        for (var i = 0; i < p.Length; i++)
        {
            maxP = Math.Max(maxP, p[i]);
            maxQ = Math.Max(maxQ, q[i]);
        }

        double sumP = 0, sumQ = 0, difference = 0;
        for (var i = 0; i < p.Length; i++)
        {
            var weight = Math.Exp(p[i] - maxP);
            sumP += weight;
            sumQ += Math.Exp(q[i] - maxQ);
            difference += weight * ((double)p[i] - q[i]);
        }

        return Math.Max(0, (difference / sumP) - ((maxP - maxQ) + (Math.Log(sumP) - Math.Log(sumQ)))); // 0 exactly for equal rows
    }

    // ‖Δh‖ is what the layer's own vectors add: the residual after them minus the one before.
    private void AddChanges(int rows, int first, double[] change, double[] gap)
    {
        var d = _model.Info.ModelWidth;
        var buffers = Enumerable.Range(0, 4).Select(_ => new float[rows * d]).ToArray();
        for (var i = 0; i < _layers.Length; i++)
        {
            _referenceContext.CopyCaptured(2 * i, buffers[0]);
            _referenceContext.CopyCaptured((2 * i) + 1, buffers[1]);
            _otherContext.CopyCaptured(2 * i, buffers[2]);
            _otherContext.CopyCaptured((2 * i) + 1, buffers[3]);
            for (var t = first; t < rows; t++)
            {
                var (own, difference) = (0.0, 0.0);
                for (var j = t * d; j < (t + 1) * d; j++)
                {
                    var a = (double)buffers[1][j] - buffers[0][j];
                    var b = (double)buffers[3][j] - buffers[2][j];
                    own += a * a;
                    difference += (a - b) * (a - b);
                }

                change[i] += Math.Sqrt(own);
                gap[i] += Math.Sqrt(difference);
            }
        }
    }

    private void Attach(LlamaContext context, IReadOnlyList<SteeringSetting> settings)
    {
        context.SetVectors([.. settings.Select(s => s.Vector)]);
        context.SetCapture([.. _layers.SelectMany(l => new[] { (l, CaptureSite.BeforeSteering), (l, CaptureSite.AfterSteering) })]);
    }

    private void Decode(LlamaContext context, int[] window, int first, IReadOnlyList<SteeringSetting> settings, CancellationToken cancellation)
    {
        context.Remove(-1, 0);
        float[] strengths = [.. settings.Select(s => s.Strength)];
        var none = new float[strengths.Length];
        _batch.Clear(strengths.Length);
        for (var t = 0; t < window.Length; t++)
        {
            _batch.Add(window[t], t, 0, output: true, t < first ? none : strengths);
        }

        context.Decode(_batch, cancellation);
    }
}

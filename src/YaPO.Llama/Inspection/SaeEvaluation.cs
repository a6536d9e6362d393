using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Inspection;

/// <summary>What an SAE keeps of a model on a text. BOS is left out throughout. T tokens, F latents; losses in nats per token.</summary>
/// <param name="Tokens">T: residuals that were encoded.</param>
/// <param name="Predictions">Next tokens that were predicted from them.</param>
/// <param name="L0">Mean number of active latents per token.</param>
/// <param name="ExplainedVariance">1 − Σ‖h − ĥ‖² / Σ‖h − mean h‖², ĥ as the run-time form of the SAE rebuilds it.</param>
/// <param name="MeanNorm">Mean ‖h‖.</param>
/// <param name="Dead">Latents active on none of the tokens.</param>
/// <param name="Loss">Of the model as it is.</param>
/// <param name="LossReconstructed">With ĥ in the residual's place.</param>
/// <param name="LossZero">With zeros in its place.</param>
/// <param name="LossMean">With the text's mean residual in its place.</param>
/// <param name="Rate">[F]: share of tokens on which each latent is active.</param>
public sealed record SaeEvaluationReport(
    long Tokens, long Predictions, double L0, double ExplainedVariance, double MeanNorm, int Dead,
    double Loss, double LossReconstructed, double LossZero, double LossMean, float[] Rate)
{
    /// <summary>(zero ablation − reconstruction) / (zero ablation − plain): 1 where the reconstruction costs nothing, 0 where it is no better than zeros.</summary>
    public double RecoveredFromZero => (LossZero - LossReconstructed) / (LossZero - Loss);

    /// <summary>The same against the mean ablation, which is the stricter reference.</summary>
    public double RecoveredFromMean => (LossMean - LossReconstructed) / (LossMean - Loss);
}

/// <summary>
/// <c>sae eval</c>: runs a text through a model four times (plain, and with the reconstruction, zeros and the mean residual in place of the residual after the
/// SAE's block) and compares the next-token losses. Everything is computed in llama.cpp's graph with the form of the SAE that steering uses.
/// </summary>
public sealed class SaeEvaluation : IDisposable
{
    private readonly LlamaModel model;
    private readonly SaeFile sae;
    private readonly IReadOnlyList<int[]> windows;
    private readonly LlamaContext context;
    private readonly IProgress<double>? progress;
    private readonly long work;
    private long done;

    /// <summary>Creates the context and puts the SAE on the device.</summary>
    /// <param name="model">The model.</param>
    /// <param name="sae">Any activation; site <c>res</c>.</param>
    /// <param name="windows">Token sequences, each evaluated on its own.</param>
    /// <param name="threads">0: the number of physical cores.</param>
    /// <param name="progress">Told the share done, 0 … 1.</param>
    /// <exception cref="YapoException">The SAE is for another width or layer (<see cref="YapoErrorKind.Mismatch"/>); there is nothing to predict
    /// (<see cref="YapoErrorKind.Format"/>).</exception>
    public SaeEvaluation(LlamaModel model, SaeFile sae, IReadOnlyList<int[]> windows, int threads = 0, IProgress<double>? progress = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(sae);
        ArgumentNullException.ThrowIfNull(windows);
        SaeFitCheck.Require(model.Info, sae);
        (this.model, this.sae, this.windows, this.progress) = (model, sae, windows, progress);
        if (!windows.Any(w => w.Length - First(w) >= 2))
        {
            throw new YapoException(YapoErrorKind.Format, "the text has no two tokens in a row besides BOS, so there is nothing to predict");
        }

        work = 4L * windows.Sum(w => (long)w.Length);
        var longest = windows.Max(w => w.Length);
        context = new LlamaContext(model, new ContextOptions { ContextSize = longest, BatchSize = longest, Threads = threads });
    }

    /// <summary>Measures.</summary>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public SaeEvaluationReport Run(CancellationToken cancellation = default)
    {
        done = 0;
        var (d, f, layer) = (sae.Info.DModel, sae.Info.Width, sae.Info.Layer);
        var (tokens, active, norms) = (0L, 0L, 0.0);
        var fired = new long[f];
        var sum = new double[d];
        var latents = new ActiveLatents(context, sae);
        context.SetCapture((layer, CaptureSite.BeforeSteering));
        var plain = Pass(null, latents, cancellation, (window, rows) =>
        {
            for (var t = First(window); t < window.Length; t++)
            {
                var h = rows[0].AsSpan(t * d, d);
                double square = 0;
                for (var i = 0; i < d; i++)
                {
                    sum[i] += h[i];
                    square += (double)h[i] * h[i];
                }

                foreach (var latent in latents.Row(t))
                {
                    fired[latent.Feature]++;
                }

                active += latents.Count(t);
                norms += Math.Sqrt(square);
                tokens++;
            }
        });

        context.SetReadout();
        var mean = Array.ConvertAll(sum, x => (float)(x / tokens));
        var (error, variance) = (0.0, 0.0);
        context.SetCapture((layer, CaptureSite.BeforeSteering), (layer, CaptureSite.AfterSteering));
        var reconstructed = Pass(AttachedVector.Reconstruction(sae), null, cancellation, (window, rows) =>
        {
            for (var i = First(window) * d; i < window.Length * d; i++)
            {
                double e = (double)rows[0][i] - rows[1][i], v = rows[0][i] - (sum[i % d] / tokens);
                error += e * e;
                variance += v * v;
            }
        });

        context.SetCapture();
        var zero = Pass(AttachedVector.Replacement("zero ablation", layer, new float[d]), null, cancellation);
        var ablated = Pass(AttachedVector.Replacement("mean ablation", layer, mean), null, cancellation);
        var predictions = windows.Sum(w => (long)Math.Max(0, w.Length - First(w) - 1));
        return new SaeEvaluationReport(
            tokens, predictions, active / (double)tokens, variance > 0 ? 1 - (error / variance) : double.NaN, norms / tokens, fired.Count(n => n == 0),
            plain / predictions, reconstructed / predictions, zero / predictions, ablated / predictions, Array.ConvertAll(fired, n => n / (float)tokens));
    }

    /// <inheritdoc/>
    public void Dispose() => context.Dispose();

    private int First(int[] window) => window.Length > 0 && window[0] == model.Info.BosToken ? 1 : 0;

    // The summed loss of all predictions from positions other than BOS, under `vector` at those positions.
    private double Pass(AttachedVector? vector, ActiveLatents? latents, CancellationToken cancellation, Action<int[], float[][]>? onWindow = null)
    {
        var loss = 0.0;
        var batch = new DecodeBatch(vector is null ? 0 : 1);
        context.SetVectors(vector is null ? [] : [vector]);
        foreach (var window in windows.Where(w => w.Length > 0))
        {
            batch.Clear();
            var first = First(window);
            for (var t = 0; t < window.Length; t++)
            {
                batch.Add(window[t], t, output: true, rowStrengths: vector is null ? [] : [t < first ? 0f : 1f]);
            }

            if (latents is null)
            {
                context.Remove(-1, 0);
                context.Decode(batch, cancellation);
            }
            else
            {
                latents.Decode(batch, cancellation);
            }

            onWindow?.Invoke(window, Captured(window.Length, slots: vector is null ? 1 : 2));
            for (var t = first; t + 1 < window.Length; t++)
            {
                loss -= context.LogProbs(t, [window[t + 1]])[0];
            }

            done += window.Length;
            progress?.Report(done / (double)work);
        }

        return loss;
    }

    private float[][] Captured(int tokens, int slots)
    {
        var rows = new float[slots][];
        for (var slot = 0; slot < slots; slot++)
        {
            context.CopyCaptured(slot, rows[slot] = new float[tokens * sae.Info.DModel]);
        }

        return rows;
    }
}

using System.Globalization;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Rehearsal.Weights;

/// <summary>
/// An SAE of true size for a model, with random unit directions as encoder and decoder rows. One threshold is set so that a wanted number of latents fires
/// per token: the projection of h on a random direction has standard deviation ‖h‖ / √D.
/// </summary>
public static class SaeRehearsal
{
    private const int Tokens = 128;

    /// <summary>Writes it; returns the threshold.</summary>
    public static float Write(string model, int layer, int width, double l0, ulong seed, string path, Action<double>? progress = null, CancellationToken cancellation = default)
    {
        var identity = ModelFingerprint.Compute(model);
        if (layer < 0 || layer >= identity.LayerCount)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"layer {layer} is out of range: {model} has blocks 0 … {identity.LayerCount - 1}");
        }

        if (!(l0 > 0 && l0 < width / 2.0))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"L0 must lie between 0 and half the width {width}, found {l0.ToString(CultureInfo.InvariantCulture)}");
        }

        var d = identity.DModel;
        var threshold = (float)(UpperQuantile(l0 / width) * MeanNorm(model, layer, seed, cancellation) / Math.Sqrt(d));
        long done = 0;
        void Rows(Stream stream)
        {
            var random = new RandomRows(seed, "sae");
            var row = new float[d];
            for (var j = 0; j < width; j++)
            {
                cancellation.ThrowIfCancellationRequested();
                random.Fill(row, 1);
                var norm = MathF.Sqrt(row.Sum(x => x * x));
                for (var i = 0; i < d; i++)
                {
                    row[i] /= norm;
                }

                GgufWriter.WriteFloats(stream, GgmlType.F32, row);
                progress?.Invoke(++done / (2.0 * width));
            }
        }

        var info = new SaeInfo
        {
            Layer = layer, DModel = d, Width = width, Base = identity.ToBaseModel(),
            Name = $"rehearsal {width} latents (random weights, seed {seed})", Source = "random directions", AverageL0 = (float)l0,
        };
        SaeWriter.Save(path, info, new float[width], Enumerable.Repeat(threshold, width).ToArray(), new float[d], Rows, Rows);
        return threshold;
    }

    private static double MeanNorm(string path, int layer, ulong seed, CancellationToken cancellation)
    {
        using var model = LlamaModel.Load(path, cancellation: cancellation);
        using var context = new LlamaContext(model, new ContextOptions { ContextSize = Tokens, BatchSize = Tokens });
        context.SetCapture((layer, CaptureSite.BeforeSteering));
        var last = layer == model.Info.LayerCount - 1; // the last block keeps rows with outputs only
        var random = new Random((int)(seed & int.MaxValue));
        var batch = new DecodeBatch();
        for (var i = 0; i < Tokens; i++)
        {
            batch.Add(i == 0 && model.Info.BosToken >= 0 ? model.Info.BosToken : random.Next(300, model.Info.VocabularySize - 300), i, output: last || i == Tokens - 1);
        }

        context.Decode(batch, cancellation);
        var d = model.Info.ModelWidth;
        var rows = new float[Tokens * d];
        context.CopyCaptured(0, rows);
        return Enumerable.Range(1, Tokens - 1).Average(t => Math.Sqrt(rows.AsSpan(t * d, d).ToArray().Sum(x => (double)x * x)));
    }

    // x with P(N(0, 1) > x) = p, by bisection on the complementary error function (Abramowitz and Stegun 7.1.26, error below 2e-7).
    private static double UpperQuantile(double p)
    {
        var (low, high) = (0.0, 8.0);
        for (var i = 0; i < 60; i++)
        {
            var x = (low + high) / 2;
            var t = 1 / (1 + (0.3275911 * x / Math.Sqrt(2)));
            var tail = 0.5 * Math.Exp(-x * x / 2) * t * (0.254829592 + (t * (-0.284496736 + (t * (1.421413741 + (t * (-1.453152027 + (t * 1.061405429))))))));
            (low, high) = tail > p ? (x, high) : (low, x);
        }

        return low;
    }
}

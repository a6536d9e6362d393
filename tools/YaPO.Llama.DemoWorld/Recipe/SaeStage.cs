using YaPO.Llama.DemoWorld.Corpus;
using YaPO.Llama.DemoWorld.Vocabulary;
using YaPO.Llama.DemoWorld.Worlds;
using YaPO.Llama.Gguf;
using YaPO.Llama.IO;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Training.Features;
using YaPO.Llama.Training.Optimization;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.DemoWorld.Recipe;

/// <summary>Trains the JumpReLU SAE on the residual stream of fresh conversations (BOS left out, as public SAEs do).</summary>
public static class SaeStage
{
    private const int Batch = 1024;

    /// <summary>The SAE file.</summary>
    public static string Path(Workplace place) => System.IO.Path.Combine(place.Output, "sae.gguf");

    /// <summary>Runs the stage.</summary>
    public static void Run(Workplace place, CancellationToken cancellation) => place.Stage("SAE", [Path(place)], () =>
    {
        var profile = place.Profile;
        using var model = LlamaModel.Load(place.Model("f16"), cancellation: cancellation);
        var d = model.Info.ModelWidth;
        var rows = Collect(place, model, cancellation);
        var count = rows.Length / d;

        // Rows are centred by the decoder bias and scaled to an entry-wise variance of 1, so that one set of numbers fits every model.
        var mean = new float[d];
        for (var i = 0; i < rows.Length; i++)
        {
            mean[i % d] += rows[i] / count;
        }

        double variance = 0;
        for (var i = 0; i < rows.Length; i++)
        {
            variance += Math.Pow(rows[i] - mean[i % d], 2) / rows.Length;
        }

        var scale = (float)Math.Sqrt(variance);
        for (var i = 0; i < rows.Length; i++)
        {
            rows[i] /= scale;
        }

        using var engine = new SaeEngine(
            new SaeEngineOptions
            {
                ModelWidth = d, Latents = profile.SaeWidth, Workers = place.Workers, Seed = place.Seed, Bandwidth = 0.2, InitialThreshold = 1.0,
            },
            [.. mean.Select(x => x / scale)]);
        Train(place, engine, rows, d, cancellation);

        var fired = new long[profile.SaeWidth];
        var held = rows.AsSpan((count - (4 * Batch)) * d);
        var final = engine.Evaluate(held, fired);
        var weights = engine.Weights();
        var info = new SaeInfo
        {
            Layer = profile.Layer,
            DModel = d,
            Width = profile.SaeWidth,
            Activation = SaeActivation.JumpRelu,
            Name = $"YaPO demo world, seed {place.Seed}, block {profile.Layer}",
            License = "same as yapo-llama",
            Attribution = "YaPO.Llama demo world, trained from scratch",
            Base = ModelFingerprint.Compute(place.Model("f16")).ToBaseModel(InputFile.Sha256(place.Model("f16"), cancellation)),
            AverageL0 = (float)final.L0,
        };
        float[] Times(ReadOnlyMemory<float> values) => [.. values.ToArray().Select(x => x * scale)];
        SaeWriter.Save(
            Path(place), info,
            new SaeWeights(weights.Enc, Times(weights.EncBias), Times(weights.Threshold), weights.Dec, Times(weights.DecBias), fired.Select(n => (float)(n / (4.0 * Batch))).ToArray()),
            GgmlType.F16);
        place.Say($"explained variance {final.ExplainedVariance:F4}, L0 {final.L0:F1}, latents that fire in {4 * Batch} held rows: {fired.Count(n => n > 0)} of {profile.SaeWidth}");
    });

    private static float[] Collect(Workplace place, LlamaModel model, CancellationToken cancellation)
    {
        var profile = place.Profile;
        var length = profile.RowLength;
        using var capture = new ResidualCapture(model, profile.Layer, length, threads: 1);
        var source = new PassageRows(place.World, place.Vocabulary, "sae");
        var d = capture.Width;
        var rows = new float[(long)profile.SaeRows * d];
        var tokens = new int[length];
        var residuals = new float[length * d];
        var n = 0;
        for (var step = 0; n < profile.SaeRows; step++)
        {
            source.Fill(step, 1, length, tokens);
            capture.Run(tokens, residuals, cancellation);
            for (var t = 0; t < length && n < profile.SaeRows; t++)
            {
                if (tokens[t] != PieceVocabulary.Bos)
                {
                    residuals.AsSpan(t * d, d).CopyTo(rows.AsSpan(n * d));
                    n++;
                }
            }
        }

        place.Say($"{n} rows of block {profile.Layer}");
        return rows;
    }

    private static void Train(Workplace place, SaeEngine engine, float[] rows, int d, CancellationToken cancellation)
    {
        var profile = place.Profile;
        var train = (rows.Length / d) - (4 * Batch);
        var rng = new Rng(place.Seed, "sae order");
        var order = Enumerable.Range(0, train).ToArray();
        rng.Shuffle(order);
        var schedule = new CosineSchedule(profile.SaeLearningRate, profile.SaeSteps, profile.SaeSteps / 20, 0.05);
        var batch = new float[Batch * d];
        var fired = new long[profile.SaeWidth];
        var last = DateTime.MinValue;
        for (var step = 0; step < profile.SaeSteps; step++)
        {
            cancellation.ThrowIfCancellationRequested();
            for (var i = 0; i < Batch; i++)
            {
                rows.AsSpan(order[(int)(((long)step * Batch) + i) % train] * d, d).CopyTo(batch.AsSpan(i * d));
            }

            // The penalty comes in slowly: from the start it would kill latents before they mean anything.
            var sparsity = profile.SaeSparsity * Math.Min(1, step / (0.3 * profile.SaeSteps));
            var result = engine.TrainStep(batch, schedule.At(step), sparsity);
            if (step % 200 == 199 && step < 0.7 * profile.SaeSteps)
            {
                Resample(engine, rows, d, order, fired, rng);
            }

            if (DateTime.UtcNow - last > TimeSpan.FromSeconds(10) || step + 1 == profile.SaeSteps)
            {
                last = DateTime.UtcNow;
                place.Say($"step {step + 1} of {profile.SaeSteps}, explained variance {result.ExplainedVariance:F4}, L0 {result.L0:F1}");
            }
        }
    }

    /// <summary>Latents that fire nowhere in a large sample go to the rows that are reconstructed worst.</summary>
    private static void Resample(SaeEngine engine, float[] rows, int d, int[] order, long[] fired, Rng rng)
    {
        var sample = new float[8 * Batch * d];
        var first = rng.Below(order.Length - (8 * Batch));
        for (var i = 0; i < 8 * Batch; i++)
        {
            rows.AsSpan(order[first + i] * d, d).CopyTo(sample.AsSpan(i * d));
        }

        Array.Clear(fired);
        engine.Evaluate(sample, fired);
        var dead = Enumerable.Range(0, fired.Length).Where(j => fired[j] == 0).Take(8 * Batch / 4).ToArray();
        if (dead.Length == 0)
        {
            return;
        }

        var errors = engine.RowErrors(sample);
        var worst = Enumerable.Range(0, errors.Length).OrderByDescending(i => errors[i]).ThenBy(i => i).Take(dead.Length).ToArray();
        var targets = new float[dead.Length * d];
        for (var i = 0; i < dead.Length; i++)
        {
            sample.AsSpan(worst[i] * d, d).CopyTo(targets.AsSpan(i * d));
        }

        engine.Resample(dead, targets);
    }
}

using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Training.Features;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Training.Vectors;

/// <summary>One of the blocks that a run steers: its SAE, and what is known of its residual stream on the training text.</summary>
internal sealed class TrainedLayer : IDisposable
{
    private readonly string _model;

    private TrainedLayer(int layer, SaeFile? sae, string model) => (Layer, Sae, _model) = (layer, sae, model);

    public int Layer { get; }

    public SaeFile? Sae { get; }

    /// <summary>Of all sequences; not owned.</summary>
    public ResidualStore Residuals { get; private set; } = null!;

    /// <summary>Active latents of every steered token; at the lowest block only, since steering there changes those above.</summary>
    public LatentCodes? Codes { get; private set; }

    /// <summary>Latents on the training pairs, unsteered; null without an SAE.</summary>
    public LatentStatistics? Statistics { get; private set; }

    /// <summary>Mean ‖h‖ on the training pairs, BOS excluded.</summary>
    public double NormMean { get; private set; }

    /// <summary>Root mean square of the entries of h, BOS excluded.</summary>
    public double Rms { get; private set; }

    /// <summary>Opens the SAEs and checks that blocks, SAEs and model belong together. Ascending by block.</summary>
    /// <exception cref="YapoException">They do not.</exception>
    public static TrainedLayer[] Open(SteeringTrainingOptions options, ModelIdentity model)
    {
        var layers = new List<TrainedLayer>();
        try
        {
            foreach (var (layer, path) in options.Layers())
            {
                if (options.NeedsSae && path is null)
                {
                    throw new YapoException(YapoErrorKind.InvalidArgument, $"--method {options.MethodName} works in the latent space of an SAE; give one with --sae");
                }

                var sae = options.NeedsSae ? SaeFile.Open(path!) : null;
                var block = layer ?? sae?.Info.Layer ?? (path is null ? null : LayerOf(path)); // dense methods only ask an SAE for its block
                layers.Add(new TrainedLayer(block ?? -1, sae, options.Model));
                layers[^1].Check(options.Model, model, given: block is not null);
                if (sae is not null)
                {
                    LatentStatistics.RefuseTopK(sae); // before a capture that takes hours
                }
            }

            layers.Sort((a, b) => a.Layer.CompareTo(b.Layer));
            for (var i = 1; i < layers.Count; i++)
            {
                if (layers[i].Layer == layers[i - 1].Layer)
                {
                    throw new YapoException(YapoErrorKind.InvalidArgument, $"block {layers[i].Layer} is given twice; train one vector per block");
                }
            }

            return [.. layers];
        }
        catch
        {
            layers.ForEach(l => l.Dispose());
            throw;
        }
    }

    /// <summary>Takes the residual rows and measures what training needs to know of them.</summary>
    public void Measure(
        ResidualStore residuals, IReadOnlyList<EncodedSequence> sequences, float[][] weights, int counted, bool lowest, SteeringTrainingOptions options, CancellationToken cancellation)
    {
        Residuals = residuals;
        var trained = new ArraySegment<EncodedSequence>([.. sequences], 0, counted);
        (NormMean, Rms) = Norms(trained, residuals);
        if (Sae is not null && lowest)
        {
            (Codes, Statistics) = LatentCodes.Encode(Sae, sequences, weights, residuals, counted, options.WorkerCount, options.CheckpointFolder, cancellation);
        }
        else if (Sae is not null)
        {
            Statistics = LatentStatistics.Measure(Sae, () => SteeringTrainer.SteeredRows(trained, weights, residuals), options.WorkerCount, cancellation);
        }
    }

    /// <summary>The coordinates that are trained and the scale of each: only latents that fire somewhere can get a gradient from v = 0.</summary>
    public (LatentRows Rows, float[] Scale) Coordinates()
    {
        if (Sae is null)
        {
            return (LatentRows.Dense(Residuals.Width), [.. Enumerable.Repeat((float)Rms, Residuals.Width)]);
        }

        var active = Statistics!.Active();
        return active.Length == 0
            ? throw new YapoException(YapoErrorKind.Mismatch, $"no latent of {Sae.Path} fires on the training text in block {Layer} of {_model}. Is it an SAE of this model and layer? (`sae eval` checks the fit)")
            : (LatentRows.Read(Sae, active, encoder: Codes is null), Array.ConvertAll(active, j => (float)Statistics.MeanWhenActive(j)));
    }

    /// <summary>The vector of these entries of v.</summary>
    public SteeringVector Vector(LatentRows rows, ReadOnlySpan<float> value, string name, Gguf.GgmlType decoderType)
    {
        if (Sae is null)
        {
            return VectorBuilder.Dense(value.ToArray(), Layer, name);
        }

        var (index, kept) = (new List<int>(), new List<float>());
        for (var k = 0; k < value.Length; k++)
        {
            if (value[k] != 0)
            {
                index.Add(rows.Index[k]);
                kept.Add(value[k]);
            }
        }

        return kept.Count == 0
            ? throw new YapoException(YapoErrorKind.Failed, $"every entry of the trained vector of block {Layer} is zero; use more steps or a higher learning rate")
            : VectorBuilder.Sparse(Sae, [.. index], [.. kept], name, decoderType);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Codes?.Dispose();
        Sae?.Dispose();
    }

    private static int LayerOf(string path)
    {
        using var sae = SaeFile.Open(path);
        return sae.Info.Layer;
    }

    private void Check(string path, ModelIdentity model, bool given)
    {
        if (!given)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "give the block to steer with --layer");
        }

        if (Layer < 0 || Layer >= model.LayerCount)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"layer {Layer} is out of range: {path} has blocks 0 … {model.LayerCount - 1}");
        }

        if (Sae is not null && Sae.Info.DModel != model.DModel)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"the SAE {Sae.Path} expects d_model {Sae.Info.DModel}; {path} has {model.DModel}. Is it an SAE of another model?");
        }

        if (Sae is not null && Sae.Info.Layer != Layer)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"the SAE {Sae.Path} reads block {Sae.Info.Layer}; --layer is {Layer}");
        }
    }

    private static (double NormMean, double Rms) Norms(IReadOnlyList<EncodedSequence> sequences, ResidualStore residuals)
    {
        var (norms, squares, rows, at) = (0.0, 0.0, 0L, 0L);
        foreach (var sequence in sequences)
        {
            for (var t = sequence.HasBos ? 1 : 0; t < sequence.Tokens.Length; t++)
            {
                var square = 0.0;
                foreach (var x in residuals.Slice(at + t, 1))
                {
                    square += (double)x * x;
                }

                norms += Math.Sqrt(square);
                squares += square;
                rows++;
            }

            at += sequence.Tokens.Length;
        }

        return (norms / rows, Math.Sqrt(squares / rows / residuals.Width));
    }
}

using YaPO.Llama.Models;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Inspection;

/// <summary>What one entry of sparse vectors does to a text.</summary>
/// <param name="Feature">The latent.</param>
/// <param name="Value">Σ λ v where the strengths are full.</param>
/// <param name="Firing">Share of steered tokens on which the latent is active before steering.</param>
/// <param name="Acting">Share on which the entry changes something: all for a positive value, those where the latent is active for a negative one.</param>
/// <param name="MeanChange">Mean of c = max(Σ λ v, −z) over the tokens where it acts.</param>
/// <param name="MeanSize">Mean of |c| over them: more than |MeanChange| where c changes its sign.</param>
/// <param name="DecoderNorm">‖W_dec‖ of the latent.</param>
public sealed record FeatureEffect(int Feature, float Value, double Firing, double Acting, double MeanChange, double MeanSize, double DecoderNorm)
{
    /// <summary>Mean length of the change over all steered tokens: acting × |c| × ‖W_dec‖. What the entries are ranked by.</summary>
    public double Effect => Acting * MeanSize * DecoderNorm;
}

/// <summary>What the vectors of one layer and SAE (or one dense vector) do to a text. Means over the tokens that they steer.</summary>
/// <param name="Vectors">The vectors that act together, those of the settings that were measured.</param>
/// <param name="Layer">Zero-based block.</param>
/// <param name="SteeredTokens">Tokens with a strength other than 0.</param>
/// <param name="RelativeChange">Mean ‖Δh‖ / ‖h‖ of the layer, with everything that acts there.</param>
/// <param name="Features">Entries by effect, the largest first; empty for a dense vector.</param>
public sealed record VectorEffect(IReadOnlyList<AttachedVector> Vectors, int Layer, int SteeredTokens, double RelativeChange, IReadOnlyList<FeatureEffect> Features)
{
    /// <summary>The names of <see cref="Vectors"/>. Vectors of several files may have the same.</summary>
    public IReadOnlyList<string> Names => [.. Vectors.Select(v => v.Name)];

    /// <summary>Runs the text with all vectors attached and measures each group of them that acts jointly.</summary>
    /// <exception cref="YapoException">A vector does not fit the model, or the text is empty.</exception>
    public static IReadOnlyList<VectorEffect> Measure(LlamaModel model, IReadOnlyList<SteeringSetting> steering, ReadOnlySpan<int> tokens, int threads = 0, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(steering);
        if (tokens.Length == 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "the text has no token");
        }

        using var context = new LlamaContext(model, ReadingOptions.For(tokens.Length, threads));
        context.SetVectors([.. steering.Select(s => s.Vector)]);
        var batch = new DecodeBatch(steering.Count);
        var output = ReadingOptions.NeedsOutput(model, steering.Select(s => s.Vector.Layer));
        foreach (var token in Conversation.RawTokens(model, tokens))
        {
            batch.Add(token.Id, batch.Count, output: output || batch.Count == tokens.Length - 1, rowStrengths: [.. steering.Select(s => s.At(batch.Count, token.Role))]);
        }

        var effects = new List<VectorEffect>();
        var groups = steering.Select((setting, column) => (setting, column)).GroupBy(x => (x.setting.Vector.Layer, Id: x.setting.Vector.SaeId != 0 ? (object)x.setting.Vector.SaeId : x.setting.Vector));
        foreach (var group in groups)
        {
            effects.Add(Measure(context, batch, [.. group.Select(x => x.setting.Vector)], [.. group.Select(x => x.column)], cancellation));
        }

        return effects;
    }

    private static VectorEffect Measure(LlamaContext context, DecodeBatch batch, AttachedVector[] vectors, int[] columns, CancellationToken cancellation)
    {
        var (d, layer, n) = (vectors[0].ModelWidth, vectors[0].Layer, batch.Count);
        context.SetCapture((layer, CaptureSite.BeforeSteering), (layer, CaptureSite.AfterSteering));
        var codes = vectors.FirstOrDefault(v => v.Sae is not null)?.Sae is { } sae ? new ActiveLatents(context, sae) : null;
        if (codes is null)
        {
            context.Remove(-1, 0);
            context.Decode(batch, cancellation);
        }
        else
        {
            codes.Decode(batch, cancellation);
            context.SetReadout();
        }

        float[] before = new float[n * d], after = new float[n * d];
        context.CopyCaptured(0, before);
        context.CopyCaptured(1, after);
        var strengths = batch.Strengths.ToArray();
        var width = batch.VectorCount;
        var steered = Enumerable.Range(0, n).Where(t => columns.Any(c => strengths[(t * width) + c] != 0)).ToArray();
        var relative = steered.Length == 0 ? 0 : steered.Average(t => Change(before.AsSpan(t * d, d), after.AsSpan(t * d, d)));

        var entries = new SortedDictionary<int, Entry>();
        for (var i = 0; i < vectors.Length; i++)
        {
            var full = Enumerable.Range(0, n).Max(t => Math.Abs(strengths[(t * width) + columns[i]]));
            var sign = Enumerable.Range(0, n).Any(t => strengths[(t * width) + columns[i]] < 0) ? -1 : 1;
            for (var k = 0; k < vectors[i].SupportSize; k++)
            {
                var feature = vectors[i].Index.Span[k];
                var entry = entries.TryGetValue(feature, out var known) ? known : entries[feature] = new Entry(vectors[i], k);
                entry.Values.Add((columns[i], vectors[i].Value.Span[k]));
                entry.Full += sign * full * vectors[i].Value.Span[k];
            }
        }

        var rows = codes is null ? null : Array.ConvertAll(steered, t => codes.Row(t).ToDictionary(a => a.Feature, a => (double)a.Activation));
        var features = entries.Select(pair => pair.Value.Effect(pair.Key, steered, strengths, width, d, (i, entry) => rows is null
            ? entry.Activation(before.AsSpan(steered[i] * d, d))
            : rows[i].GetValueOrDefault(pair.Key)));
        return new VectorEffect(vectors, layer, steered.Length, relative, [.. features.OrderByDescending(f => f.Effect).ThenBy(f => f.Feature)]);
    }

    private static double Change(ReadOnlySpan<float> before, ReadOnlySpan<float> after)
    {
        var (change, size) = (0.0, 0.0);
        for (var i = 0; i < before.Length; i++)
        {
            change += ((double)after[i] - before[i]) * ((double)after[i] - before[i]);
            size += (double)before[i] * before[i];
        }

        return size > 0 ? Math.Sqrt(change / size) : 0;
    }

    // One latent of the union of supports; its rows are those of the first vector that has it.
    private sealed class Entry(AttachedVector vector, int k)
    {
        public List<(int Column, float Value)> Values { get; } = [];

        public float Full { get; set; }

        public double Activation(ReadOnlySpan<float> h)
        {
            var row = vector.Encoder.Span.Slice(k * h.Length, h.Length);
            double pre = vector.EncoderBias.Span[k];
            for (var i = 0; i < h.Length; i++)
            {
                pre += (double)row[i] * h[i];
            }

            return pre > 0 && pre > vector.Threshold.Span[k] ? pre : 0;
        }

        public FeatureEffect Effect(int feature, int[] steered, float[] strengths, int width, int d, Func<int, Entry, double> activation)
        {
            var (firing, acting, change, size) = (0, 0, 0.0, 0.0);
            for (var i = 0; i < steered.Length; i++)
            {
                var s = Values.Sum(v => (double)strengths[(steered[i] * width) + v.Column] * v.Value);
                var z = activation(i, this);
                var c = Math.Max(s, -z);
                firing += z > 0 ? 1 : 0;
                acting += c != 0 ? 1 : 0;
                change += c;
                size += Math.Abs(c);
            }

            var norm = 0.0;
            foreach (var x in vector.Decoder.Span.Slice(k * d, d))
            {
                norm += (double)x * x;
            }

            double all = Math.Max(1, steered.Length), acted = Math.Max(1, acting);
            return new FeatureEffect(feature, Full, firing / all, acting / all, change / acted, size / acted, Math.Sqrt(norm));
        }
    }
}

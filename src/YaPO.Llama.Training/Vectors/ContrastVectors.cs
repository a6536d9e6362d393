using YaPO.Llama.Sae;
using YaPO.Llama.Training.Features;
using YaPO.Llama.Training.Pairs;
using YaPO.Llama.Training.Residuals;

namespace YaPO.Llama.Training.Vectors;

/// <summary>
/// Vectors from forward passes: the mean over pairs of (chosen − rejected), of residuals (CAA) or of SAE codes (SAS), at the answers' tokens.
/// </summary>
public static class ContrastVectors
{
    /// <summary>CAA: v = mean over pairs of (h̄ at the chosen answer − h̄ at the rejected one), [D]. h̄ is the mean over the answer tokens chosen.</summary>
    public static float[] Caa(IReadOnlyList<EncodedSequence> sequences, ResidualStore residuals, AnswerTokens which)
    {
        var d = residuals.Width;
        var sum = new double[d];
        foreach (var (sequence, first, sign) in Sides(sequences))
        {
            var (start, count) = Range(sequence, which);
            var rows = residuals.Slice(first + start, count);
            for (var i = 0; i < rows.Length; i++)
            {
                sum[i % d] += sign * (double)rows[i] / count;
            }
        }

        return Array.ConvertAll(sum, x => (float)(x / (sequences.Count / 2)));
    }

    /// <summary>
    /// SAS: per side, the mean code of each latent over the examples; a latent counts on a side only when it is active in at least
    /// <paramref name="tau"/> of its examples, and one that passes on both sides is dropped; v = mean⁺ − mean⁻.
    /// </summary>
    /// <returns>The latents with a non-zero entry, ascending, and their entries.</returns>
    public static (int[] Index, float[] Value) Sas(
        SaeFile sae, IReadOnlyList<EncodedSequence> sequences, ResidualStore residuals, AnswerTokens which, double tau, int workers, CancellationToken cancellation = default)
    {
        LatentStatistics.RefuseTopK(sae);
        if (!(tau is >= 0 and <= 1))
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"tau {tau} must be between 0 and 1");
        }

        const int tile = 4096;
        int d = sae.Info.DModel, f = sae.Info.Width;
        var index = new List<int>();
        var value = new List<float>();
        var examples = sequences.Count / 2;
        for (var first = 0; first < f; first += tile)
        {
            cancellation.ThrowIfCancellationRequested();
            var n = Math.Min(tile, f - first);
            var enc = new float[n * d];
            sae.ReadEncoder(first, enc);
            var means = new double[2, n];
            var active = new int[2, n];
            foreach (var (sequence, row, sign) in Sides(sequences))
            {
                var side = sign > 0 ? 0 : 1;
                var (start, count) = Range(sequence, which);
                var z = LatentStatistics.Encode(enc, sae.EncBias.AsSpan(first, n), sae.Threshold.AsSpan(first, n), residuals.Slice(row + start, count), d, workers);
                for (var j = 0; j < n; j++)
                {
                    var mean = 0.0;
                    for (var t = 0; t < count; t++)
                    {
                        mean += z[(t * n) + j];
                    }

                    means[side, j] += mean / count / examples;
                    active[side, j] += mean > 0 ? 1 : 0;
                }
            }

            for (var j = 0; j < n; j++)
            {
                var (plus, minus) = (active[0, j] >= tau * examples && active[0, j] > 0, active[1, j] >= tau * examples && active[1, j] > 0);
                if (plus != minus)
                {
                    index.Add(first + j);
                    value.Add((float)(plus ? means[0, j] : -means[1, j]));
                }
            }
        }

        return index.Count > 0
            ? ([.. index], [.. value])
            : throw new YapoException(YapoErrorKind.Failed, $"no latent is active in at least {tau:P0} of one side's answers and not of the other's; lower --tau");
    }

    private static IEnumerable<(EncodedSequence Sequence, long FirstRow, int Sign)> Sides(IReadOnlyList<EncodedSequence> sequences)
    {
        long row = 0;
        for (var i = 0; i < sequences.Count; i++)
        {
            yield return (sequences[i], row, i % 2 == 0 ? 1 : -1);
            row += sequences[i].Tokens.Length;
        }
    }

    private static (int Start, int Count) Range(EncodedSequence sequence, AnswerTokens which)
    {
        var words = Math.Max(1, sequence.Tokens.Length - sequence.CompletionStart - sequence.EndTokens);
        return which switch
        {
            AnswerTokens.First => (sequence.CompletionStart, 1),
            AnswerTokens.Last => (sequence.CompletionStart + words - 1, 1),
            _ => (sequence.CompletionStart, words),
        };
    }
}

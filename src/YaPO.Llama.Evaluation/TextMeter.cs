using YaPO.Llama.Evaluation.Suites;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Evaluation;

/// <summary>What steering does to the reading of a text, summed over its predicted tokens; nats.</summary>
/// <param name="Tokens">Predicted tokens.</param>
/// <param name="Unsteered">−log π_0 of the text.</param>
/// <param name="Steered">−log π_λ of the text.</param>
/// <param name="Kl">Σ KL(π_0 ‖ π_λ), each over the whole vocabulary.</param>
public sealed record TextReading(int Tokens, double Unsteered, double Steered, double Kl);

/// <summary>
/// Reads texts teacher-forced with and without steering. Both readings of a token stand in one batch, strength 0 beside λ, so that what they differ by is
/// the steering and not the cut of batches. KL is exact: double precision over llama.cpp's F32 logits of the whole vocabulary.
/// </summary>
internal static class TextMeter
{
    /// <summary>Reads every text.</summary>
    public static TextReading[] Read(SteeredScorer scorer, IReadOnlyList<ReadText> texts, Steering steering, int sequences, CancellationToken cancellation)
    {
        var cells = texts.Chunk(Math.Max(1, sequences / 2)).Max(g => g.Sum(t => 2 * t.Tokens.Length));
        return scorer.Run(texts.Chunk(Math.Max(1, sequences / 2)).ToList(), (lane, part) => Read(lane.Context(cells), part, steering, cancellation), cancellation);
    }

    /// <summary>KL(π_0 ‖ π_λ) per token over all texts.</summary>
    public static double KlPerToken(IReadOnlyList<TextReading> readings) => readings.Sum(r => r.Kl) / readings.Sum(r => r.Tokens);

    /// <summary>KL(p ‖ q) of two softmax distributions given by logits; never below 0.</summary>
    public static double Kl(ReadOnlySpan<float> p, ReadOnlySpan<float> q)
    {
        var (mostP, mostQ) = ((double)Most(p), (double)Most(q));
        var (sumP, sumQ, cross) = (0.0, 0.0, 0.0);
        for (var i = 0; i < p.Length; i++)
        {
            var (a, b) = (p[i] - mostP, q[i] - mostQ);
            var e = Math.Exp(a);
            sumP += e;
            sumQ += Math.Exp(b);
            cross += e * (a - b);
        }

        return Math.Max(0, (cross / sumP) - Math.Log(sumP) + Math.Log(sumQ));
    }

    private static TextReading[] Read(LlamaContext context, ReadText[] texts, Steering steering, CancellationToken cancellation)
    {
        context.Remove(-1, 0);
        context.SetVectors([.. steering.Settings.Select(s => s.Vector)]);
        var n = steering.Settings.Count;
        var (batch, pairs) = (new DecodeBatch(n), new List<(int Text, int Position, int Row)>());
        var sums = new (double Unsteered, double Steered, double Kl)[texts.Length];
        var (p, q) = (new float[context.Model.Info.VocabularySize], new float[context.Model.Info.VocabularySize]);
        float[] none = new float[n], strengths = new float[n];
        void Flush()
        {
            if (batch.Count == 0)
            {
                return;
            }

            context.Decode(batch, cancellation);
            foreach (var (text, position, row) in pairs)
            {
                var next = texts[text].Tokens[position + 1];
                context.CopyLogits(row, p);
                context.CopyLogits(row + 1, q);
                sums[text].Unsteered -= context.LogProbs(row, [next])[0];
                sums[text].Steered -= context.LogProbs(row + 1, [next])[0];
                sums[text].Kl += Kl(p, q);
            }

            pairs.Clear();
            batch.Clear();
        }

        for (var t = 0; t < texts.Length; t++)
        {
            var (tokens, roles) = (texts[t].Tokens, texts[t].Roles);
            for (var i = 0; i + 1 < tokens.Length; i++)
            {
                for (var s = 0; s < n; s++)
                {
                    strengths[s] = steering.Settings[s].At(i, roles[i]);
                }

                var output = i + 1 >= texts[t].First;
                var row = batch.Add(tokens[i], i, 2 * t, output, none);
                batch.Add(tokens[i], i, (2 * t) + 1, output, strengths);
                if (output)
                {
                    pairs.Add((t, i, row));
                }

                if (batch.Count + 2 > context.BatchSize)
                {
                    Flush();
                }
            }
        }

        Flush();
        return [.. texts.Select((text, t) => new TextReading(text.Predicted, sums[t].Unsteered, sums[t].Steered, sums[t].Kl))];
    }

    private static float Most(ReadOnlySpan<float> values)
    {
        var most = float.NegativeInfinity;
        foreach (var value in values)
        {
            most = Math.Max(most, value);
        }

        return most;
    }
}

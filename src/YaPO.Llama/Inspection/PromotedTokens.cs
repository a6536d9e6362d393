using YaPO.Llama.Gguf;
using YaPO.Llama.Interop;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;

namespace YaPO.Llama.Inspection;

/// <summary>A token and how much a direction raises its logit.</summary>
/// <param name="Token">Token id.</param>
/// <param name="Text">The token, control tokens included.</param>
/// <param name="Score">(direction ∘ w_norm) · W_U[token]: logits per unit of activation and of 1/RMS(h), before any softcap. Only the order is meaningful.</param>
public sealed record PromotedToken(int Token, string Text, double Score);

/// <summary>
/// What a direction of the residual stream promotes when nothing after it interferes (the logit lens): the final norm's scale, then the unembedding, read from
/// the GGUF in blocks of rows and decoded from whatever type they have; a tied model has them in its token embedding. Memory: a few MB whatever the vocabulary.
/// </summary>
public static class PromotedTokens
{
    private const int RowsAtOnce = 512;

    /// <summary>The <paramref name="top"/> most promoted tokens of each direction [D], the strongest first (equal ones by id).</summary>
    /// <exception cref="YapoException">The file has no unembedding of this shape (a split model's lies in another part; <see cref="YapoErrorKind.Unsupported"/>).</exception>
    public static IReadOnlyList<IReadOnlyList<PromotedToken>> Of(LlamaModel model, IReadOnlyList<ReadOnlyMemory<float>> directions, int top, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(directions);
        using var file = GgufFile.Open(model.Path);
        var (d, vocabulary) = (model.Info.ModelWidth, model.Info.VocabularySize);
        if ((!file.TryGetTensor("output.weight", out var unembedding) && !file.TryGetTensor("token_embd.weight", out unembedding))
            || unembedding.Shape.Count != 2 || unembedding.RowLength != d || unembedding.Rows < vocabulary)
        {
            throw new YapoException(
                YapoErrorKind.Unsupported, $"{model.Path}: no unembedding [{d}, {vocabulary}] in this file (a split model keeps it in another part), so what features promote is not known");
        }

        var scaled = directions.Select(direction => Scale(file, direction.Span, d)).ToArray();
        var best = scaled.Select(_ => new PriorityQueue<int, (double Score, int Order)>(top + 1)).ToArray();
        var rows = new float[RowsAtOnce * d];
        var bytes = new byte[RowsAtOnce * unembedding.RowBytes];
        for (var first = 0; first < vocabulary; first += RowsAtOnce)
        {
            cancellation.ThrowIfCancellationRequested();
            var n = Math.Min(RowsAtOnce, vocabulary - first);
            var part = bytes.AsSpan(0, (int)(n * unembedding.RowBytes));
            file.ReadBytes(unembedding, first * unembedding.RowBytes, part);
            NativeMethods.yapo_dequantize((int)unembedding.Type, part, part.Length, rows, n * d, out var err).Check(err, cancellation);
            for (var r = 0; r < n; r++)
            {
                for (var i = 0; i < scaled.Length; i++)
                {
                    best[i].Enqueue(first + r, (SaeFit.Dot(scaled[i], rows.AsSpan(r * d, d)), -(first + r)));
                    if (best[i].Count > top)
                    {
                        best[i].Dequeue();
                    }
                }
            }
        }

        return [.. best.Select(queue => Drain(queue, model))];
    }

    private static float[] Scale(GgufFile file, ReadOnlySpan<float> direction, int d)
    {
        if (direction.Length != d)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"a direction has {direction.Length} entries; the model {file.Path} has d_model {d}");
        }

        var scaled = direction.ToArray();
        if (file.TryGetTensor("output_norm.weight", out var norm) && norm.Elements == d)
        {
            var weight = file.ReadFloats(norm);
            for (var i = 0; i < d; i++)
            {
                scaled[i] *= weight[i];
            }
        }

        return scaled;
    }

    private static PromotedToken[] Drain(PriorityQueue<int, (double Score, int Order)> queue, LlamaModel model)
    {
        var tokens = new PromotedToken[queue.Count];
        for (var i = tokens.Length - 1; i >= 0; i--)
        {
            queue.TryDequeue(out var id, out var priority);
            tokens[i] = new PromotedToken(id, model.Detokenize([id], special: true), priority.Score);
        }

        return tokens;
    }
}

namespace YaPO.Llama.Sessions;

/// <summary>The likeliest next tokens of a batch row. Reusable; one thread at a time.</summary>
internal sealed class LikeliestTokens
{
    private float[] logits = [];

    /// <summary>The <paramref name="count"/> likeliest tokens after row <paramref name="row"/> of the last decode, most likely first.</summary>
    public TokenLogProb[] Of(LlamaContext context, int row, int count)
    {
        if (count <= 0)
        {
            return [];
        }

        if (logits.Length == 0)
        {
            logits = new float[context.Model.Info.VocabularySize];
        }

        context.CopyLogits(row, logits);
        var queue = new PriorityQueue<int, (float Logit, int Order)>(count + 1);
        for (var id = 0; id < logits.Length; id++)
        {
            // Equal logits: the smaller id counts as likelier, so that the list never depends on luck.
            queue.Enqueue(id, (logits[id], -id));
            if (queue.Count > count)
            {
                queue.Dequeue();
            }
        }

        var ids = new int[queue.Count];
        for (var i = ids.Length - 1; i >= 0; i--)
        {
            ids[i] = queue.Dequeue();
        }

        var logprobs = context.LogProbs(row, ids);
        return [.. ids.Select((id, i) => new TokenLogProb(id, logprobs[i]))];
    }
}

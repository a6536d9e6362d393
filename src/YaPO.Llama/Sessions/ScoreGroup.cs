namespace YaPO.Llama.Sessions;

/// <summary>A request on its way through the context.</summary>
internal sealed class ScoreRow(ScoreRequest request, SequenceToken[] tokens)
{
    public ScoreRequest Request { get; } = request;

    /// <summary>What is evaluated: prompt and completion but its last token.</summary>
    public SequenceToken[] Tokens { get; } = tokens;

    public double[] LogProbs { get; } = new double[request.Completion.Count];

    public IReadOnlyList<TokenLogProb>[] Top { get; } = new IReadOnlyList<TokenLogProb>[request.Completion.Count];

    public ScoreResult Result(bool withTop) => new(LogProbs.Sum(), LogProbs, [.. Request.Completion], withTop ? Top : []);
}

/// <summary>
/// Requests that are evaluated together: as many as there are sequences, cells and batch rows for, sharing the tokens at the front that are equal in
/// all of them (under equal strengths) and whose logits none of them needs.
/// </summary>
internal sealed class ScoreGroup(int sequences, int cells, int batchRows)
{
    private readonly List<ScoreRow> rows = [];

    public IReadOnlyList<ScoreRow> Rows => rows;

    /// <summary>Tokens that all rows share.</summary>
    public int SharedTokens { get; private set; }

    /// <summary>Adds a row; false when it does not fit beside the others. A first row always fits.</summary>
    public bool TryAdd(ScoreRow row, IReadOnlyList<SteeringSetting> steering)
    {
        if (rows.Count == 0)
        {
            rows.Add(row);
            SharedTokens = row.Request.Prompt.Count - 1;
            return true;
        }

        if (rows.Count == sequences)
        {
            return false;
        }

        var shared = Shared(rows[0], row, Math.Min(SharedTokens, row.Request.Prompt.Count - 1), steering);
        var own = rows.Sum(r => r.Tokens.Length - shared) + row.Tokens.Length - shared;
        if (shared + own > cells || own > batchRows)
        {
            return false;
        }

        rows.Add(row);
        SharedTokens = shared;
        return true;
    }

    public void Clear()
    {
        rows.Clear();
        SharedTokens = 0;
    }

    private static int Shared(ScoreRow a, ScoreRow b, int limit, IReadOnlyList<SteeringSetting> steering)
    {
        var n = 0;
        while (n < limit && a.Tokens[n].Id == b.Tokens[n].Id && SameStrengths(n, a.Tokens[n], b.Tokens[n], steering))
        {
            n++;
        }

        return n;
    }

    private static bool SameStrengths(int position, SequenceToken a, SequenceToken b, IReadOnlyList<SteeringSetting> steering)
    {
        if (a.Role != b.Role)
        {
            foreach (var setting in steering)
            {
                if (setting.At(position, a.Role) != setting.At(position, b.Role))
                {
                    return false;
                }
            }
        }

        return true;
    }
}

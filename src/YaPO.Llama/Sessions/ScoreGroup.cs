namespace YaPO.Llama.Sessions;

/// <summary>A request on its way through the context.</summary>
internal sealed class ScoreRow(ScoreRequest request, SequenceToken[] tokens)
{
    public ScoreRequest Request { get; } = request;

    /// <summary>What is evaluated: prompt and completion but its last token.</summary>
    public SequenceToken[] Tokens { get; } = tokens;

    /// <summary>The first position whose logits predict a completion token.</summary>
    public int FirstOutput => Request.Prompt.Count - 1;

    public double[] LogProbs { get; } = new double[request.Completion.Count];

    public IReadOnlyList<TokenLogProb>[] Top { get; } = new IReadOnlyList<TokenLogProb>[request.Completion.Count];

    public ScoreResult Result(bool withTop) => new(LogProbs.Sum(), LogProbs, [.. Request.Completion], withTop ? Top : []);
}

/// <summary>Requests with one prompt, such as the answers to one question: their common beginning, completion tokens included, is computed once.</summary>
internal sealed class ScoreBranch(ScoreRow first)
{
    private readonly List<ScoreRow> rows = [first];

    public IReadOnlyList<ScoreRow> Rows => rows;

    /// <summary>Tokens at the front that all rows share.</summary>
    public int SharedTokens { get; private set; } = first.Tokens.Length;

    public void Add(ScoreRow row, int shared)
    {
        rows.Add(row);
        SharedTokens = shared;
    }
}

/// <summary>
/// Requests that are evaluated together, as many as there are sequences and cells for, as a tree of three levels: what all share (a few-shot
/// header, say), what the requests with one prompt share, and the rest of each. Tokens are shared where ids and strengths are equal.
/// </summary>
internal sealed class ScoreGroup(int sequences, int cells)
{
    // A decode of a few tokens costs as much as this many in a larger one.
    private const int LeastSaving = 64;

    private readonly List<ScoreBranch> branches = [];
    private int count;
    private int shared;

    public IReadOnlyList<ScoreBranch> Branches => branches;

    /// <summary>Tokens at the front that all branches share, whose logits nobody needs, and that are worth a decode of their own; else 0.</summary>
    public int FrontTokens => Worth(shared, branches.Count);

    /// <summary>Adds a row; false when it does not fit beside the others. A first row always fits.</summary>
    public bool TryAdd(ScoreRow row, IReadOnlyList<SteeringSetting> steering)
    {
        if (count == 0)
        {
            branches.Add(new ScoreBranch(row));
            count = 1;
            return true;
        }

        if (count == sequences)
        {
            return false;
        }

        var last = branches[^1];
        var joins = last.Rows[0].Request.Prompt.SequenceEqual(row.Request.Prompt);
        var common = joins ? Shared(last.Rows[0], row, Math.Min(last.SharedTokens, row.Tokens.Length), steering) : 0;
        var front = joins ? shared : Front(row, steering);
        var once = Worth(front, branches.Count + (joins ? 0 : 1));
        var own = row.Tokens.Length - (joins ? common : once);
        var used = once + own + branches.Sum(b => Used(b, joins && b == last ? common : b.SharedTokens, once));
        if (used > cells)
        {
            return false;
        }

        if (joins)
        {
            last.Add(row, common);
        }
        else
        {
            branches.Add(new ScoreBranch(row));
        }

        shared = front;
        count++;
        return true;
    }

    public void Clear()
    {
        branches.Clear();
        (count, shared) = (0, 0);
    }

    private int Front(ScoreRow row, IReadOnlyList<SteeringSetting> steering)
    {
        var first = branches[0].Rows[0];
        var limit = branches.Count == 1 ? first.FirstOutput : shared;
        return Shared(first, row, Math.Min(limit, row.FirstOutput), steering);
    }

    private static int Worth(int front, int branches) => (branches - 1) * front >= LeastSaving ? front : 0;

    private static int Used(ScoreBranch branch, int common, int front) => common - front + branch.Rows.Sum(r => r.Tokens.Length - common);

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

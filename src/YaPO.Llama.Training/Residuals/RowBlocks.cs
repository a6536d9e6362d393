using YaPO.Llama.Training.Randomness;

namespace YaPO.Llama.Training.Residuals;

/// <summary>
/// An endless stream of shuffled residual rows, in blocks: windows in an order drawn anew for each epoch are run through the model until a block is
/// full, then its rows are shuffled. Block b is a function of seed and b alone, so a resumed run recomputes only the block it stopped in.
/// BOS rows are left out: their norm is tens of times that of others.
/// </summary>
public sealed class RowBlocks
{
    private readonly int[][] _windows;
    private readonly int[] _rowsOf;
    private readonly int _capacity;
    private readonly ulong _seed;
    private readonly int _bos;
    private long _nextWindow;
    private long _nextBlock;

    /// <summary>Creates the stream.</summary>
    /// <param name="windows">Token windows.</param>
    /// <param name="bos">The BOS token; −1 for none.</param>
    /// <param name="capacity">Most rows of a block; at least as many as the longest window has.</param>
    /// <param name="seed">Decides all orders.</param>
    public RowBlocks(int[][] windows, int bos, int capacity, ulong seed)
    {
        (_windows, _bos, _capacity, _seed) = (windows, bos, capacity, seed);
        _rowsOf = Array.ConvertAll(windows, w => w.Length - (w[0] == bos ? 1 : 0));
        if (windows.Length == 0 || _rowsOf.Max() > capacity)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, $"blocks of {capacity} rows cannot hold a window of {(windows.Length == 0 ? 0 : _rowsOf.Max())}");
        }
    }

    /// <summary>Rows of one pass over all windows.</summary>
    public long RowsPerEpoch => _rowsOf.Sum(r => (long)r);

    /// <summary>The windows of the next block, in order, and its number.</summary>
    public (long Block, int[] Windows, int Rows) Next()
    {
        var chosen = new List<int>();
        var rows = 0;
        var epoch = -1L;
        int[] order = [];
        while (true)
        {
            if (_nextWindow / _windows.Length != epoch)
            {
                epoch = _nextWindow / _windows.Length;
                order = new SeededRandom(_seed, "windows", epoch).Permutation(_windows.Length);
            }

            var w = order[_nextWindow % _windows.Length];
            if (rows + _rowsOf[w] > _capacity)
            {
                return (_nextBlock++, [.. chosen], rows);
            }

            chosen.Add(w);
            rows += _rowsOf[w];
            _nextWindow++;
        }
    }

    /// <summary>Runs the windows of a block and shuffles their rows, [rows, D].</summary>
    public float[] Load(ResidualCapture capture, long block, int[] windows, int rows, int sequences, CancellationToken cancellation = default)
    {
        var shuffled = new float[rows * capture.Width];
        var place = new SeededRandom(_seed, "rows", block).Permutation(rows);
        var row = 0;
        Capture(capture, windows, sequences, r => r.CopyTo(shuffled.AsSpan(place[row++] * capture.Width)), cancellation);
        return shuffled;
    }

    /// <summary>Runs windows several at a time and hands out their rows in order, without BOS.</summary>
    private void Capture(ResidualCapture capture, int[] windows, int sequences, RowVisitor visit, CancellationToken cancellation)
    {
        var buffer = new float[capture.MaxTokens * capture.Width];
        for (var i = 0; i < windows.Length;)
        {
            cancellation.ThrowIfCancellationRequested();
            var group = new List<int[]>();
            var tokens = 0;
            while (i < windows.Length && group.Count < sequences && tokens + _windows[windows[i]].Length <= capture.MaxTokens)
            {
                group.Add(_windows[windows[i]]);
                tokens += _windows[windows[i]].Length;
                i++;
            }

            capture.Run(group, buffer.AsSpan(0, tokens * capture.Width), cancellation);
            var at = 0;
            foreach (var window in group)
            {
                for (var t = 0; t < window.Length; t++, at++)
                {
                    if (t > 0 || window[0] != _bos)
                    {
                        visit(buffer.AsSpan(at * capture.Width, capture.Width));
                    }
                }
            }
        }
    }

    private delegate void RowVisitor(ReadOnlySpan<float> row);
}

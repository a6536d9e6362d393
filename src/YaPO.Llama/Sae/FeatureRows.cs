using System.Numerics;
using System.Runtime.InteropServices;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Sae;

/// <summary>
/// A matrix of a published SAE, read as one row of D per feature however it lies in its file: [F, D] or [D, F], C or Fortran order. A matrix that holds features as
/// columns is transposed block by block, so memory stays bounded. Told of every byte read.
/// </summary>
internal sealed class FeatureRows(TensorData data, bool columns, int d, int f, Action<long> read, CancellationToken cancellation)
{
    private const int BlockElements = 1 << 23; // 32 MiB of floats
    private const int Tile = 16; // rows of the file transposed together: one cache line of each output row

    /// <summary>Features read at once.</summary>
    public int BlockRows { get; } = Math.Clamp(BlockElements / d, 1, f);

    /// <summary>D.</summary>
    public int RowLength => d;

    /// <summary>As messages name it.</summary>
    public string Description => data.Description;

    /// <summary>Reads <paramref name="rows"/>.Length / D features from <paramref name="first"/> on.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: a value is not finite.</exception>
    public void Read(int first, Span<float> rows)
    {
        cancellation.ThrowIfCancellationRequested();
        var n = rows.Length / d;
        if (!columns)
        {
            data.Read((long)first * d, rows);
        }
        else
        {
            var strips = new float[Tile * n];
            for (var i = 0; i < d; i += Tile)
            {
                var count = Math.Min(Tile, d - i);
                for (var k = 0; k < count; k++)
                {
                    data.Read(((long)(i + k) * f) + first, strips.AsSpan(k * n, n));
                }

                for (var j = 0; j < n; j++)
                {
                    var row = rows.Slice((j * d) + i, count);
                    for (var k = 0; k < row.Length; k++)
                    {
                        row[k] = strips[(k * n) + j];
                    }
                }
            }
        }

        CheckFinite(rows, first);
        read(rows.Length * (long)data.Info.Type.ItemBytes());
    }

    /// <summary>[F]: Σ_i row_j[i]², in double.</summary>
    public double[] SumOfSquares()
    {
        var result = new double[f];
        ForEachBlock((first, rows) =>
        {
            for (var j = 0; j < rows.Length / d; j++)
            {
                result[first + j] = Product(rows.Slice(j * d, d), rows.Slice(j * d, d));
            }
        });
        return result;
    }

    /// <summary>[F]: row_j · <paramref name="direction"/>, in double.</summary>
    public double[] Products(double[] direction)
    {
        var result = new double[f];
        ForEachBlock((first, rows) =>
        {
            for (var j = 0; j < rows.Length / d; j++)
            {
                result[first + j] = Product(rows.Slice(j * d, d), direction);
            }
        });
        return result;
    }

    /// <summary>Hands out all features in order, block by block.</summary>
    public void ForEachBlock(BlockAction action)
    {
        var block = new float[BlockRows * d];
        for (var first = 0; first < f; first += BlockRows)
        {
            var rows = block.AsSpan(0, Math.Min(BlockRows, f - first) * d);
            Read(first, rows);
            action(first, rows);
        }
    }

    /// <summary>Takes the rows of features <paramref name="first"/>, …</summary>
    public delegate void BlockAction(int first, Span<float> rows);

    private static double Product(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        var sum = 0.0;
        for (var i = 0; i < a.Length; i++)
        {
            sum += (double)a[i] * b[i];
        }

        return sum;
    }

    private static double Product(ReadOnlySpan<float> a, ReadOnlySpan<double> b)
    {
        var sum = 0.0;
        for (var i = 0; i < a.Length; i++)
        {
            sum += a[i] * b[i];
        }

        return sum;
    }

    /// <summary>Refuses infinities and NaN, naming the feature.</summary>
    public void CheckFinite(ReadOnlySpan<float> rows, int first)
    {
        if (IndexOfNotFinite(rows) is >= 0 and var bad)
        {
            throw new YapoException(YapoErrorKind.Format, $"{data.Description}: feature {first + (bad / d)} holds {rows[bad]}; every value must be finite");
        }
    }

    /// <summary>Where the first infinity or NaN is; −1: nowhere.</summary>
    public static int IndexOfNotFinite(ReadOnlySpan<float> values)
    {
        // A sum of x · 0 is 0 unless an entry is infinite or no number; only then is the culprit looked for.
        var sum = Vector<float>.Zero;
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(values);
        foreach (var v in vectors)
        {
            sum += v * Vector<float>.Zero;
        }

        for (var i = Vector.EqualsAll(sum, Vector<float>.Zero) ? vectors.Length * Vector<float>.Count : 0; i < values.Length; i++)
        {
            if (!float.IsFinite(values[i]))
            {
                return i;
            }
        }

        return -1;
    }
}

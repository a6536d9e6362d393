namespace YaPO.Llama.Steering;

/// <summary>A field that two files fill differently.</summary>
/// <param name="Name">Its key, as in the file.</param>
/// <param name="A">Text of the first; empty: not there.</param>
/// <param name="B">Text of the second.</param>
public sealed record FieldDifference(string Name, string A, string B);

/// <summary>A feature on which two vectors differ; 0 where one does not have it.</summary>
public sealed record FeatureDifference(int Index, float A, float B, string Label);

/// <summary>Two vectors of one layer, compared as stored (without strengths).</summary>
/// <param name="A">Of the first file.</param>
/// <param name="B">Of the second.</param>
/// <param name="Comparable">Whether values can be compared one by one: both dense, or both sparse over SAEs of one identity (or width, where an identity is unknown).</param>
/// <param name="Common">|A ∩ B| of the supports.</param>
/// <param name="OnlyA">|A \ B|.</param>
/// <param name="OnlyB">|B \ A|.</param>
/// <param name="Jaccard">|A ∩ B| / |A ∪ B|; null unless both are sparse over one SAE.</param>
/// <param name="LatentCosine">Cosine of the two v over the union of supports; null as above.</param>
/// <param name="FlattenedCosine">Cosine of the flattened directions Σ v_j W_dec[j]; null where the widths differ or one is 0.</param>
/// <param name="Largest">Features by |v_A − v_B|, largest first; none where equal.</param>
public sealed record VectorDifference(
    SteeringVector A, SteeringVector B, bool Comparable, int Common, int OnlyA, int OnlyB, double? Jaccard, double? LatentCosine, double? FlattenedCosine,
    IReadOnlyList<FeatureDifference> Largest)
{
    /// <summary>Compares two vectors.</summary>
    public static VectorDifference Of(SteeringVector a, SteeringVector b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        var flattened = Cosine(a.Flatten(), b.Flatten());
        if (a.Kind != b.Kind || (a.Kind == VectorKind.Sparse && !SameSae(a.Sae!, b.Sae!)))
        {
            return new VectorDifference(a, b, false, 0, a.K, b.K, null, null, flattened, []);
        }

        if (a.Kind == VectorKind.Dense)
        {
            return new VectorDifference(a, b, a.Value.Length == b.Value.Length, 0, 0, 0, null, null, flattened, []);
        }

        var entries = new SortedDictionary<int, FeatureDifference>();
        for (var j = 0; j < a.K; j++)
        {
            entries[a.Index[j]] = new FeatureDifference(a.Index[j], a.Value[j], 0, a.Labels?[j] ?? "");
        }

        var common = 0;
        for (var j = 0; j < b.K; j++)
        {
            var here = entries.TryGetValue(b.Index[j], out var found);
            common += here ? 1 : 0;
            entries[b.Index[j]] = new FeatureDifference(b.Index[j], found?.A ?? 0, b.Value[j], found?.Label is { Length: > 0 } label ? label : b.Labels?[j] ?? "");
        }

        return new VectorDifference(
            a,
            b,
            true,
            common,
            a.K - common,
            b.K - common,
            (double)common / entries.Count,
            Cosine([.. entries.Values.Select(e => e.A)], [.. entries.Values.Select(e => e.B)]),
            flattened,
            [.. entries.Values.Where(e => e.A != e.B).OrderByDescending(e => Math.Abs((double)e.A - e.B)).ThenBy(e => e.Index)]);
    }

    /// <summary>Pairs vectors of one layer, those of the same kind and SAE first; the rest has no partner.</summary>
    public static (IReadOnlyList<VectorDifference> Pairs, IReadOnlyList<SteeringVector> OnlyA, IReadOnlyList<SteeringVector> OnlyB) Of(SteeringFile a, SteeringFile b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        var left = b.Vectors.ToList();
        var pairs = new (SteeringVector A, SteeringVector? B)[a.Vectors.Count];
        for (var strict = 1; strict >= 0; strict--)
        {
            for (var i = 0; i < pairs.Length; i++)
            {
                var x = pairs[i].A = a.Vectors[i];
                var match = pairs[i].B is not null ? -1 : left.FindIndex(y => y.Layer == x.Layer && (strict == 0 || (y.Kind == x.Kind && y.SaeId == x.SaeId)));
                if (match >= 0)
                {
                    pairs[i].B = left[match];
                    left.RemoveAt(match);
                }
            }
        }

        return ([.. pairs.Where(p => p.B is not null).Select(p => Of(p.A, p.B!))], [.. pairs.Where(p => p.B is null).Select(p => p.A)], left);
    }

    /// <summary>The fields of the two files (not of their vectors' arrays) that differ, in file order.</summary>
    public static IReadOnlyList<FieldDifference> Fields(SteeringFile a, SteeringFile b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        return Differing(SteeringFields.Of(a), SteeringFields.Of(b));
    }

    /// <summary>The fields of the two vectors that differ, arrays apart.</summary>
    public static IReadOnlyList<FieldDifference> Fields(SteeringVector a, SteeringVector b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        return Differing(SteeringFields.Of(a), SteeringFields.Of(b));
    }

    private static IReadOnlyList<FieldDifference> Differing(IReadOnlyList<(string Key, string Text)> a, IReadOnlyList<(string Key, string Text)> b) =>
        [.. a.Zip(b, (x, y) => new FieldDifference(x.Key, x.Text, y.Text)).Where(f => f.A != f.B)];

    private static bool SameSae(SaeReference a, SaeReference b) => a.Width == b.Width && (a.Sha256 == b.Sha256 || a.Sha256.Length == 0 || b.Sha256.Length == 0);

    private static double? Cosine(float[] a, float[] b)
    {
        if (a.Length != b.Length)
        {
            return null;
        }

        var (ab, aa, bb) = (0.0, 0.0, 0.0);
        for (var i = 0; i < a.Length; i++)
        {
            ab += (double)a[i] * b[i];
            aa += (double)a[i] * a[i];
            bb += (double)b[i] * b[i];
        }

        return aa > 0 && bb > 0 ? ab / Math.Sqrt(aa) / Math.Sqrt(bb) : null;
    }
}

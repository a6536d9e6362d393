using System.Globalization;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;

namespace YaPO.Llama.Steering;

/// <summary>One file of a combination and how strongly it enters.</summary>
/// <param name="Name">For messages and descriptions: its path or name.</param>
/// <param name="File">Its content.</param>
/// <param name="Sha256">SHA-256 of the file, recorded as a parent.</param>
/// <param name="Strength">λ; null: each vector's recommended strength.</param>
/// <param name="Positions">Where it acts; null: as each vector records.</param>
public sealed record CombinedPart(string Name, SteeringFile File, string Sha256, float? Strength = null, SteeringPositions? Positions = null);

/// <summary>
/// Joins vectors into one file that does at strength 1 what attaching all of them at their strengths does. Vectors of one SAE, layer and position
/// rule become one on the union of their supports, v = Σ λ_i v_i, since they act jointly: c = max(Σ λ_i v_i, −z). Dense vectors of one layer are
/// summed. Everything else (another SAE, an SAE of unknown identity, other positions) stays an entry of its own. Sums are F32 in the order given;
/// the kernel's own are those of a matrix product, so where entries of several vectors meet the two differ by its rounding, about 1e-7 of an entry.
/// </summary>
public static class VectorCombination
{
    /// <summary>Combines; the result is recommended at strength 1.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Mismatch"/>: other d_model or base model, or files that claim one SAE and carry
    /// different rows. <see cref="YapoErrorKind.InvalidArgument"/>: nothing is left of the sum.</exception>
    public static SteeringFile Combine(IReadOnlyList<CombinedPart> parts, string name)
    {
        ArgumentNullException.ThrowIfNull(parts);
        if (parts.Count == 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "nothing to combine");
        }

        var dModel = parts[0].File.DModel;
        var groups = new Dictionary<object, List<Member>>();
        var order = new List<List<Member>>();
        foreach (var part in parts)
        {
            if (part.File.DModel != dModel)
            {
                throw new YapoException(YapoErrorKind.Mismatch, $"{part.Name} steers d_model {part.File.DModel}, {parts[0].Name} steers {dModel}; vectors of different models cannot be combined");
            }

            foreach (var vector in part.File.Vectors)
            {
                var member = new Member(part.Name, vector with { Positions = part.Positions ?? vector.Positions }, part.Strength ?? vector.RecommendedStrength);
                var key = member.JoinKey;
                if (key is not null && groups.TryGetValue(key, out var group))
                {
                    group.Add(member);
                    continue;
                }

                order.Add([member]);
                if (key is not null)
                {
                    groups.Add(key, order[^1]);
                }
            }
        }

        var vectors = order.Select(group => group[0].Vector.Kind == VectorKind.Dense ? Dense(group) : Sparse(group, dModel)).OfType<SteeringVector>().ToList();
        if (vectors.Count == 0)
        {
            throw new YapoException(YapoErrorKind.InvalidArgument, "every entry of the sum is 0: at these strengths the vectors cancel, or all strengths are 0");
        }

        var terms = parts.Select(p => $"{Path.GetFileName(p.Name)}{(p.Strength is { } s ? $" × {Number(s)}" : "")}{(p.Positions is { } at ? $" at {at}" : "")}");
        return new SteeringFile
        {
            Name = name,
            Description = "sum of " + string.Join(", ", terms),
            License = Distinct(parts.Select(p => p.File.License), " AND "),
            Author = Distinct(parts.Select(p => p.File.Author), ", "),
            Base = CommonBase(parts),
            DModel = dModel,
            Vectors = UniqueNames(vectors),
            Parents = [.. parts.Select(p => p.Sha256).Distinct()],
        };
    }

    private static SteeringVector? Dense(List<Member> group)
    {
        var sum = new float[group[0].Vector.Value.Length];
        for (var i = 0; i < sum.Length; i++)
        {
            sum[i] = Sum(group, m => m.Vector.Value[i]);
        }

        return Array.Exists(sum, x => x != 0) ? Record(group) with { Value = sum } : null;
    }

    private static SteeringVector? Sparse(List<Member> group, int d)
    {
        var rows = new SortedDictionary<int, (Member Owner, int Row)>();
        var value = new Dictionary<int, float>();
        foreach (var member in group)
        {
            RequireSameSae(group[0], member);
            for (var j = 0; j < member.Vector.K; j++)
            {
                var feature = member.Vector.Index[j];
                var term = member.Strength * member.Vector.Value[j];
                value[feature] = value.TryGetValue(feature, out var before) ? before + term : term;
                if (!rows.TryAdd(feature, (member, j)))
                {
                    RequireSameRows(feature, rows[feature].Owner, rows[feature].Row, member, j, d);
                }
            }
        }

        // A feature whose terms cancel changes nothing: c = max(0, −z) = 0.
        var kept = rows.Where(r => value[r.Key] != 0).ToArray();
        if (kept.Length == 0)
        {
            return null;
        }

        if ((long)kept.Length * d > Array.MaxLength)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{kept.Length} features of {d} values are too many for one vector; prune the inputs first");
        }

        return Record(group) with
        {
            Index = [.. kept.Select(r => r.Key)],
            Value = [.. kept.Select(r => value[r.Key])],
            Enc = Rows(v => v.Enc),
            Dec = Rows(v => v.Dec),
            EncBias = [.. kept.Select(r => r.Value.Owner.Vector.EncBias[r.Value.Row])],
            Threshold = [.. kept.Select(r => r.Value.Owner.Vector.Threshold[r.Value.Row])],
            // Rows read from 16-bit files are kept exactly: in that type where all share it, else as F32.
            DecType = group.TrueForAll(m => m.Vector.DecType == group[0].Vector.DecType) ? group[0].Vector.DecType : GgmlType.F32,
            Rate = group.TrueForAll(m => m.Vector.Rate is not null) ? [.. kept.Select(r => r.Value.Owner.Vector.Rate![r.Value.Row])] : null,
            Max = group.TrueForAll(m => m.Vector.Max is not null) ? [.. kept.Select(r => r.Value.Owner.Vector.Max![r.Value.Row])] : null,
            Labels = group.Exists(m => m.Vector.Labels is not null) ? [.. kept.Select(r => r.Value.Owner.Vector.Labels?[r.Value.Row] ?? "")] : null,
        };

        float[] Rows(Func<SteeringVector, float[]> of)
        {
            var all = new float[kept.Length * d];
            for (var k = 0; k < kept.Length; k++)
            {
                of(kept[k].Value.Owner.Vector).AsSpan(kept[k].Value.Row * d, d).CopyTo(all.AsSpan(k * d));
            }

            return all;
        }
    }

    // As the kernel adds them: one product and one sum in F32 per vector, in the order attached.
    private static float Sum(List<Member> group, Func<Member, float> value)
    {
        var sum = group[0].Strength * value(group[0]);
        for (var i = 1; i < group.Count; i++)
        {
            sum += group[i].Strength * value(group[i]);
        }

        return sum;
    }

    /// <summary>What describes the sum of a group; a vector alone keeps its words.</summary>
    private static SteeringVector Record(List<Member> group)
    {
        var first = group[0].Vector;
        var means = group.Where(m => m.Vector.PositiveMeans.Length > 0).ToList();
        var norms = group.Select(m => m.Vector.HNormMean).Distinct().ToList();
        return first with
        {
            Name = string.Join(" + ", group.Select(m => m.Vector.Name).Distinct()),
            PositiveMeans = group.Count == 1 && group[0].Strength > 0 ? first.PositiveMeans : string.Join("; ", means.Select(m => $"{Number(m.Strength)} × ({m.Vector.PositiveMeans})")),
            RecommendedStrength = 1,
            MinStrength = null,
            MaxStrength = null,
            HNormMean = norms.Count == 1 ? norms[0] : null,
        };
    }

    private static void RequireSameSae(Member a, Member b)
    {
        if (a.Vector.Sae!.Width != b.Vector.Sae!.Width || a.Vector.Sae.Activation != b.Vector.Sae.Activation)
        {
            throw new YapoException(
                YapoErrorKind.Mismatch,
                $"{a.File} and {b.File} name one SAE ({a.Vector.Sae.Sha256[..16]}…) but record it differently: {a.Vector.Sae.Width} features, {SaeActivationName.Of(a.Vector.Sae.Activation)} against {b.Vector.Sae.Width}, {SaeActivationName.Of(b.Vector.Sae.Activation)}");
        }
    }

    // The encoder decides what is active, so it must agree exactly; decoder rows may have been stored in different types.
    private static void RequireSameRows(int feature, Member a, int rowA, Member b, int rowB, int d)
    {
        const float storage = 1f / 128; // twice the rounding of BF16
        var (va, vb) = (a.Vector, b.Vector);
        var same = va.EncBias[rowA] == vb.EncBias[rowB] && va.Threshold[rowA] == vb.Threshold[rowB]
            && va.Enc.AsSpan(rowA * d, d).SequenceEqual(vb.Enc.AsSpan(rowB * d, d));
        var decA = va.Dec.AsSpan(rowA * d, d);
        var decB = vb.Dec.AsSpan(rowB * d, d);
        var largest = 0f;
        for (var i = 0; i < d; i++)
        {
            largest = Math.Max(largest, Math.Abs(decA[i]));
        }

        for (var i = 0; i < d && same; i++)
        {
            same = Math.Abs(decA[i] - decB[i]) <= storage * largest;
        }

        if (!same)
        {
            throw new YapoException(YapoErrorKind.Mismatch, $"{a.File} and {b.File} name one SAE, but their rows of feature {feature} differ: one of them is damaged or names the wrong SAE");
        }
    }

    private static BaseModel CommonBase(IReadOnlyList<CombinedPart> parts)
    {
        var known = parts.FirstOrDefault(p => p.File.Base.Fingerprint.Length > 0) ?? parts[0];
        foreach (var part in parts)
        {
            if (part.File.Base.Fingerprint.Length > 0 && part.File.Base.Fingerprint != known.File.Base.Fingerprint)
            {
                throw new YapoException(
                    YapoErrorKind.Mismatch,
                    $"{known.Name} was made for {Describe(known.File.Base)}, {part.Name} for {Describe(part.File.Base)}; vectors of different models cannot be combined");
            }
        }

        return known.File.Base with
        {
            FileSha256 = Shared(b => b.FileSha256),
            Quantization = Shared(b => b.Quantization),
            ChatTemplateSha256 = Shared(b => b.ChatTemplateSha256),
        };

        string Shared(Func<BaseModel, string> of) => parts.Select(p => of(p.File.Base)).Distinct().Count() == 1 ? of(known.File.Base) : "";

        static string Describe(BaseModel b) => $"{(b.Name.Length > 0 ? b.Name : b.Architecture)}, fingerprint {b.Fingerprint[..Math.Min(12, b.Fingerprint.Length)]}";
    }

    private static List<SteeringVector> UniqueNames(List<SteeringVector> vectors)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        return vectors.ConvertAll(v =>
        {
            var name = v.Name;
            for (var n = 2; !seen.Add(name); n++)
            {
                name = string.Create(CultureInfo.InvariantCulture, $"{v.Name} ({n})");
            }

            return v with { Name = name };
        });
    }

    private static string Distinct(IEnumerable<string> texts, string separator) => string.Join(separator, texts.Where(t => t.Length > 0).Distinct());

    private static string Number(float value) => value.ToString("G6", CultureInfo.InvariantCulture);

    private sealed record Member(string File, SteeringVector Vector, float Strength)
    {
        /// <summary>Equal for vectors that become one; null: never joined.</summary>
        public object? JoinKey => Vector.Kind == VectorKind.Dense ? (Vector.Layer, Vector.Positions, Vector.Operator, 0UL)
            : Vector.SaeId != 0 ? (Vector.Layer, Vector.Positions, Vector.Operator, Vector.SaeId)
            : null;
    }
}

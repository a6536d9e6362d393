using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Sessions;

/// <summary>A vector with the strength and the positions it acts with.</summary>
/// <param name="Vector">What is added.</param>
/// <param name="Strength">λ: 0 leaves the model bit for bit as it is; positive strengthens the trained behaviour.</param>
/// <param name="Positions">Where.</param>
public sealed record SteeringSetting(AttachedVector Vector, float Strength, SteeringPositions Positions)
{
    /// <summary>Takes a vector of a file; strength and positions default to the file's own.</summary>
    /// <param name="vector">A record of a <c>.ysv</c> file.</param>
    /// <param name="strength">Null: recommended strength.</param>
    /// <param name="positions">Null: the positions it was trained with.</param>
    /// <param name="sae">The whole SAE of a TopK vector, open; others carry the rows they need.</param>
    /// <exception cref="YapoException">A TopK vector without its SAE.</exception>
    public static SteeringSetting Create(SteeringVector vector, float? strength = null, SteeringPositions? positions = null, SaeFile? sae = null)
    {
        ArgumentNullException.ThrowIfNull(vector);
        return new SteeringSetting(Attach(vector, sae), strength ?? vector.RecommendedStrength, positions ?? vector.Positions);
    }

    /// <summary>λ at one token: <see cref="Strength"/> or 0.</summary>
    public float At(int position, TokenRole role) => Positions.Steers(position, role) ? Strength : 0;

    private static AttachedVector Attach(SteeringVector vector, SaeFile? sae)
    {
        if (vector.Kind == VectorKind.Dense)
        {
            return AttachedVector.Dense(vector.Name, vector.Layer, vector.Value);
        }

        if (vector.Sae?.Activation == SaeActivation.TopK)
        {
            if (sae is not null && sae.Info.Layer != vector.Layer)
            {
                throw new YapoException(YapoErrorKind.Mismatch, $"vector {vector.Name} steers layer {vector.Layer}; its SAE {sae.Path} reads layer {sae.Info.Layer}");
            }

            return sae is null
                ? throw new YapoException(
                    YapoErrorKind.Unsupported,
                    $"vector {vector.Name}: its SAE selects the {vector.Sae.TopK} largest activations, which needs the whole encoder: {SaeSearch.Describe(vector.Sae)}. Put that file beside the vector, or name it with --sae")
                : AttachedVector.OfSae(vector.Name, sae, vector.Index, vector.Value, vector.Dec);
        }

        return AttachedVector.Sparse(
            vector.Name,
            vector.Layer,
            vector.Dec.Length / Math.Max(1, vector.K),
            vector.Index,
            vector.Value,
            vector.Enc,
            vector.EncBias,
            vector.Threshold,
            vector.Dec,
            vector.SaeId);
    }
}

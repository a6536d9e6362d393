using YaPO.Llama.Steering;

namespace YaPO.Llama.Evaluation.Controls;

/// <summary>What stands in for the vector.</summary>
public enum ArmKind
{
    /// <summary>The vector itself.</summary>
    Vector,

    /// <summary>Its flattened direction λ Σ v_j W_dec[j]: what tools without an encoder add.</summary>
    Flattened,

    /// <summary>The vector at negative strength.</summary>
    SignFlip,

    /// <summary>A random direction with the same mean ‖Δh‖.</summary>
    RandomDirection,

    /// <summary>Random latents that fire as often, with the same signed values and the same mean ‖Δh‖ after clipping.</summary>
    RandomLatents,

    /// <summary>The same training in a random dictionary.</summary>
    RandomDictionary,

    /// <summary>The same training on randomly chosen latents.</summary>
    RandomSupport,

    /// <summary>The same training with chosen and rejected answers swapped at random.</summary>
    ShuffledLabels,
}

/// <summary>
/// One arm of a trial: the vector or a control, with one knob. Strengths are in the vector's units: a control matched on ‖Δh‖ moves the residual stream at s
/// as far as the vector does at s, so that one grid of strengths serves every arm.
/// </summary>
/// <param name="Kind">What it is.</param>
/// <param name="Name">For tables.</param>
/// <param name="At">The steering at a strength.</param>
public sealed record Arm(ArmKind Kind, string Name, Func<double, Steering> At)
{
    /// <summary>The vector under test.</summary>
    public static Arm Of(SubjectVector subject) => new(ArmKind.Vector, subject.Name, subject.At);

    /// <summary>Its flattened direction at the same λ.</summary>
    public static Arm Flattened(SubjectVector subject)
    {
        var flat = new SubjectVector(subject.Name, [.. subject.Parts.Select(p => p.With(VectorBuilder.Dense(p.Vector.Flatten(), p.Vector.Layer, p.Vector.Name + " flattened")))], subject.Strength);
        return new Arm(ArmKind.Flattened, "flattened", flat.At);
    }

    /// <summary>The vector at −λ.</summary>
    public static Arm SignFlip(SubjectVector subject) => new(ArmKind.SignFlip, "sign flipped", s => subject.At(-s));

    /// <summary>
    /// Other vectors at the layers of the subject, each as strong as the subject's at the same layer and with the sign of its strength: a vector that is tested below 0, where it removes what
    /// it is made of, is compared with controls that remove theirs. One that cannot move the stream as far by that, having too little that is active, does so with the other sign.
    /// </summary>
    /// <param name="kind">What they are.</param>
    /// <param name="name">For tables.</param>
    /// <param name="subject">What sets ‖Δh‖.</param>
    /// <param name="others">One for each part of the subject.</param>
    /// <param name="shifts">Measures ‖Δh‖ at each part's layer.</param>
    public static Arm Matched(ArmKind kind, string name, SubjectVector subject, IReadOnlyList<SteeringVector> others, IReadOnlyList<ShiftMeter> shifts)
    {
        var parts = subject.Parts.Zip(others, (part, other) => part.With(other)).ToList();
        return new Arm(kind, name, s => new Steering([.. parts.Select((part, i) => new Sessions.SteeringSetting(
            part.Attached,
            (float)Strength(shifts[i], part.Vector, shifts[i].Mean(subject.Parts[i].Vector, s * subject.Parts[i].Share), Math.Sign(s * subject.Parts[i].Share)),
            part.Positions))]));
    }

    private static double Strength(ShiftMeter meter, SteeringVector vector, double shift, int sign)
    {
        try
        {
            return meter.StrengthFor(vector, shift, sign);
        }
        catch (YapoException) when (sign < 0)
        {
            return meter.StrengthFor(vector, shift);
        }
    }
}

using System.Globalization;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Benchmarks;

/// <summary>What was compared before anything was timed.</summary>
/// <param name="Arm">Which arm.</param>
/// <param name="Compared">What, with what.</param>
/// <param name="Error">The largest difference, relative to the largest entry; 0: none.</param>
/// <param name="Allowed">What it may be.</param>
internal sealed record CheckedArm(string Arm, string Compared, double Error, double Allowed)
{
    public bool Passed => Error <= Allowed;
}

/// <summary>A fast kernel that computes something else is no fast kernel: every arm is checked first.</summary>
internal static class SteeringCheck
{
    private const int Rows = 4;
    private const double AtTheGate = 1e-5; // a pre-activation this near to its threshold may fall on either side

    /// <summary>
    /// Strength 0 against the unsteered arm, bit for bit; the correction of sparse arms against <c>decᵀ max(s v, −z)</c> in double precision; our dense
    /// vectors against llama.cpp's control vector. The lanes are left at strength 1.
    /// </summary>
    public static IReadOnlyList<CheckedArm> Run(IReadOnlyList<SteeringLane> lanes)
    {
        var found = new List<CheckedArm>();
        SteeringLane Lane(string name) => lanes.Single(l => l.Arm.Name == name);
        foreach (var lane in lanes.Where(l => l.Arm.Name != l.Arm.Baseline && l.Arm.ControlVector.Length == 0))
        {
            found.Add(new(lane.Arm.Name, "strength 0 with unsteered, logits, bit for bit", Difference(Logits(lane, 0), Logits(Lane(lane.Arm.Baseline), 0)), 0));
            if (lane.Arm.Vectors.Count > 0 && lane.Arm.Vectors[0] is { IsSparse: true, Sae: null } && !lane.Arm.Detached)
            {
                found.Add(new(
                    lane.Arm.Name, "correction of the residual with double precision", lane.Arm.Stock ? StockCorrection(lane) : Correction(lane),
                    Allowed(lane.Arm.Stock ? DecoderRowType.F32 : lane.Arm.Vectors[0].DecoderRowType)));
            }
        }

        var (dense, control) = (lanes.Single(l => l.Arm.Kind == "dense"), lanes.Single(l => l.Arm.Kind == "control_vector"));
        found.Add(new(dense.Arm.Name, "logits with those of llama.cpp's control vector", Difference(Logits(dense, 1), Logits(control, 1)), 1e-4));
        return found;
    }

    // What yapo.h states for these rows (largest error seen on random dictionaries), four times.
    private static double Allowed(DecoderRowType rows) => 4 * rows switch
    {
        DecoderRowType.F32 => 2.5e-6, // the residual is an F32 too
        DecoderRowType.F16 => 5e-4,
        DecoderRowType.BF16 => 4e-3,
        _ => 1.1e-2,
    };

    private static float[] Logits(SteeringLane lane, float strength)
    {
        lane.Strength = strength;
        lane.Prefill(0);
        lane.Step(0);
        lane.Step(0);
        lane.Strength = 1;
        return lane.Logits();
    }

    private static double Difference(float[] a, float[] b)
    {
        var scale = b.Max(x => Math.Abs((double)x));
        return a.Zip(b, (x, y) => BitConverter.SingleToInt32Bits(x) == BitConverter.SingleToInt32Bits(y) ? 0 : Math.Max(double.Epsilon, Math.Abs((double)x - y) / scale)).Max();
    }

    private static double Correction(SteeringLane lane)
    {
        var width = lane.Arm.Vectors[0].ModelWidth;
        var layer = lane.Arm.Vectors[0].Layer;
        lane.Context.SetCapture((layer, CaptureSite.BeforeSteering), (layer, CaptureSite.AfterSteering));
        lane.Step(0); // one row for each sequence, outputs all: the last block has them too
        var rows = lane.Arm.Sequences;
        float[] before = new float[rows * width], after = new float[rows * width];
        lane.Context.CopyCaptured(0, before);
        lane.Context.CopyCaptured(1, after);
        lane.Context.SetCapture();
        return Enumerable.Range(0, Math.Min(rows, Rows)).Max(r => Correction(lane.Arm.Vectors[r], before.AsSpan(r * width, width), after.AsSpan(r * width, width)));
    }

    // The stock route writes over the layer's own tensor: what is captured there is steered. What it steers does not depend on earlier steering, which acts on
    // the blocks after it only, so a run at strength 0 has it.
    private static double StockCorrection(SteeringLane lane)
    {
        var v = lane.Arm.Vectors[0];
        float[] Residual(float strength)
        {
            lane.Strength = strength;
            lane.Prefill(0);
            lane.Context.SetCapture((v.Layer, CaptureSite.AfterSteering));
            lane.Step(0);
            var row = new float[v.ModelWidth];
            lane.Context.CopyCaptured(0, row);
            lane.Context.SetCapture();
            return row;
        }

        return Correction(v, Residual(0), Residual(1));
    }

    private static double Correction(AttachedVector v, ReadOnlySpan<float> before, ReadOnlySpan<float> after)
    {
        var wanted = new double[before.Length];
        var slack = new double[before.Length];
        for (var k = 0; k < v.SupportSize; k++)
        {
            double pre = v.EncoderBias.Span[k], size = Math.Abs(pre);
            var encoder = v.Encoder.Span.Slice(k * before.Length, before.Length);
            for (var j = 0; j < before.Length; j++)
            {
                pre += (double)encoder[j] * before[j];
                size += Math.Abs((double)encoder[j] * before[j]);
            }

            var z = pre > v.Threshold.Span[k] && pre > 0 ? pre : 0;
            var code = Math.Max(v.Value.Span[k], -z);
            var other = Math.Abs(pre - v.Threshold.Span[k]) < AtTheGate * size ? Math.Max(v.Value.Span[k], pre > v.Threshold.Span[k] ? 0 : -Math.Max(pre, 0)) : code;
            var decoder = v.Decoder.Span.Slice(k * before.Length, before.Length);
            for (var j = 0; j < before.Length; j++)
            {
                wanted[j] += code * decoder[j];
                slack[j] += Math.Abs((code - other) * decoder[j]);
            }
        }

        var scale = wanted.Max(Math.Abs);
        var worst = 0.0;
        for (var j = 0; j < before.Length; j++)
        {
            // h' is an F32: below its last digit nothing of the correction can show
            var rounding = Math.Abs(after[j]) * 1.2e-7;
            worst = Math.Max(worst, (Math.Abs((double)after[j] - before[j] - wanted[j]) - slack[j] - rounding) / scale);
        }

        return worst;
    }
}

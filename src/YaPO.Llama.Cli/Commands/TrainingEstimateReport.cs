using System.Globalization;
using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Training;
using YaPO.Llama.Training.Estimates;

namespace YaPO.Llama.Cli.Commands;

/// <summary>What <c>train --dry-run</c> prints.</summary>
internal static class TrainingEstimateReport
{
    private const double Night = 8 * 3600;

    public static void Write(SteeringEstimate estimate, SteeringTrainingOptions training, bool json, CommandConsole console)
    {
        var available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (json)
        {
            console.WriteJson(new { estimate.Pairs, estimate.ValidationPairs, estimate.Tokens, estimate.LongestSequence, estimate.ProbeTokens, estimate.CaptureSeconds, estimate.SecondsPerPair, estimate.SecondsPerStep, estimate.TrainingSeconds, estimate.TotalSeconds, estimate.Memory, Overnight = Overnight(estimate), AvailableMemory = available });
            return;
        }

        var memory = estimate.Memory;
        var text = console.Out;
        text.WriteLine(Line($"pairs      {estimate.Pairs} to train on, {estimate.ValidationPairs} to validate, {estimate.Tokens} tokens, longest sequence {estimate.LongestSequence}"));
        text.WriteLine(Line($"capture    {Time(estimate.CaptureSeconds)} for all residuals, once"));
        if (estimate.SecondsPerPair > 0)
        {
            text.WriteLine(Line($"training   {estimate.SecondsPerPair:0.000} s per pair ({estimate.ProbeTokens} tokens), {Time(estimate.SecondsPerStep)} per step of {training.Optimizer.BatchSize}, {Time(estimate.TrainingSeconds)} at most; early stopping may end it sooner"));
            text.WriteLine(Line($"in all     {Time(estimate.TotalSeconds)}"));
            text.WriteLine(Line($"overnight  8 hours hold {string.Join(", ", Overnight(estimate).Select(o => $"{o.Steps} steps of {o.BatchSize} pairs ({o.Pairs} different ones at most)"))}; --steps, --batch-size and fewer pairs make a run of it, --validation-data with --patience may end it sooner"));
        }

        text.WriteLine(Line($"memory     about {Sizes.Text(memory.Peak)} of {Sizes.Text(available)}: while capturing {Sizes.Text(memory.Model)} of model and {Sizes.Text(memory.Capture)}; while training {Sizes.Text(memory.Upper)} of mapped weights, {Sizes.Text(memory.Activations)} of activations, {Sizes.Text(memory.Latents)} of latents at most, {Sizes.Text(memory.Residuals)} of residuals"));
        if (memory.Device is { } device)
        {
            text.WriteLine(Line($"on {device.Device}  about {Sizes.Text(device.Peak)} of {(device.Free > 0 ? Sizes.Text(device.Free) + " free" : "an unknown size")}: while capturing {Sizes.Text(device.Capture)} of blocks; while training {Sizes.Text(device.Weights)} of weights, {Sizes.Text(device.Copies)} of their transposed copies, {Sizes.Text(device.Activations)} of activations, {Sizes.Text(device.Latents)} of latents at most"));
            if (!device.Fits)
            {
                console.Warn($"this does not fit on {device.Device}; train would refuse it. {DeviceMemory.Advice}");
            }
        }

        if (memory.Peak > available)
        {
            console.Warn("this does not fit; train would refuse it. Fewer --threads, a smaller --max-tokens, a later --layer, a smaller SAE or a stronger quantization need less");
        }
    }

    private static IEnumerable<NightRun> Overnight(SteeringEstimate estimate)
    {
        foreach (var batch in new[] { 4, 8, 16 })
        {
            var steps = estimate.StepsWithin(Night, batch);
            yield return new NightRun(batch, steps, Math.Min(estimate.Pairs, (long)steps * batch));
        }
    }

    private sealed record NightRun(int BatchSize, int Steps, long Pairs);

    private static string Time(double seconds) => seconds < 60 ? seconds.ToString("0.0 s", CultureInfo.InvariantCulture) : TimeSpan.FromSeconds(seconds).ToString(seconds < 86400 ? @"h\:mm\:ss" : @"d\ \d\a\y\s\ h\:mm", CultureInfo.InvariantCulture);

    private static string Line(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

using System.Globalization;

namespace YaPO.Llama.Cli.Machine;

/// <summary>
/// Whether other programs keep the processor busy. ggml's worker threads spin while they wait for each other: with as many threads as
/// cores and another busy process, one token took 3,000 ms instead of 48.
/// </summary>
internal static class MachineLoad
{
    /// <summary>Runnable processes averaged over the last minute; null where the system does not tell.</summary>
    public static double? Average()
    {
        try
        {
            return OperatingSystem.IsLinux() ? Parse(File.ReadAllText("/proc/loadavg")) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>What to say when <paramref name="threads"/> threads (0: one per core) would not have a core each; null when they would.</summary>
    public static string? Warning(double? average, int cores, int threads)
    {
        var wanted = threads > 0 ? threads : cores;
        if (average is not { } busy || busy + wanted <= cores + (0.5 * cores))
        {
            return null;
        }

        var free = Math.Max(1, cores - (int)Math.Ceiling(busy));
        return free >= wanted ? null : string.Create(
            CultureInfo.InvariantCulture,
            $"the machine is busy (load {busy:0.0} on {cores} cores) and spinning threads slow each other down; --threads {free} is likely faster than {wanted}");
    }

    internal static double? Parse(string loadavg) =>
        double.TryParse(loadavg.Split(' ')[0], NumberStyles.Float, CultureInfo.InvariantCulture, out var value) ? value : null;
}

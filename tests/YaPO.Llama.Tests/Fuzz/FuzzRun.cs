using System.Globalization;

namespace YaPO.Llama.Tests.Fuzz;

/// <summary>
/// Feeds damaged copies of a valid file to a reader: it may accept one or throw <see cref="YapoException"/>, nothing else; it must not hang, nor allocate out of proportion
/// to the file. A failure names seed and case, so it can be replayed.
/// </summary>
internal sealed class FuzzRun(TemporaryFolder folder)
{
    private const long FixedAllocation = 2 << 20;
    private const long AllocationPerByte = 256;
    private static readonly TimeSpan HangLimit = TimeSpan.FromSeconds(60);

    /// <summary>Damaged files per test; <c>YAPO_FUZZ_CASES</c> asks for more.</summary>
    public static readonly int Cases = int.TryParse(Environment.GetEnvironmentVariable("YAPO_FUZZ_CASES"), CultureInfo.InvariantCulture, out var n) ? n : 3000;

    /// <summary>Runs it.</summary>
    /// <param name="seed">Everything follows from it.</param>
    /// <param name="valid">A file that the reader accepts.</param>
    /// <param name="name">What to call the damaged files.</param>
    /// <param name="read">Reads one, and asserts whatever must hold of an accepted file.</param>
    /// <param name="share">This fraction of the cases: for readers that are slow.</param>
    public void Run(int seed, byte[] valid, string name, Action<string> read, double share = 1)
    {
        read(folder.Write(name, valid)); // the undamaged file must be fine, or the test shows nothing
        var cases = (int)(Cases * share);
        var (started, refused) = (-1, 0);
        var work = Task.Factory.StartNew(
            () =>
            {
                var mutator = new Mutator(seed);
                for (var i = 0; i < cases; i++)
                {
                    Volatile.Write(ref started, i);
                    refused += Refused(folder.Write(name, mutator.Mutate(valid)), read, $"seed {seed}, case {i}") ? 1 : 0;
                }
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        for (var seen = -2; !work.Wait(HangLimit) && !work.IsCompleted; seen = Volatile.Read(ref started))
        {
            Assert.False(seen == Volatile.Read(ref started), $"seed {seed}, case {seen} has taken more than {HangLimit.TotalSeconds} seconds");
        }

        refused.Should().BeGreaterThan(cases / 4, "damage must be noticed, or the mutator is too tame");
    }

    private static bool Refused(string path, Action<string> read, string which)
    {
        var length = new FileInfo(path).Length;
        var before = GC.GetAllocatedBytesForCurrentThread();
        var refused = false;
        try
        {
            read(path);
        }
        catch (YapoException e)
        {
            refused = true;
            Assert.NotEmpty(e.Message);
        }
        catch (Exception e)
        {
            Assert.Fail($"{which}: {e}");
        }

        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated < FixedAllocation + (AllocationPerByte * length), $"{which}: {allocated:N0} bytes were allocated for a file of {length:N0}");
        return refused;
    }
}

namespace YaPO.Llama.Evaluation.Controls;

/// <summary>SplitMix64 (Steele, Lea &amp; Flood 2014): a stream that is a function of seed, purpose and index on every platform.</summary>
internal sealed class SplitMix
{
    private ulong _state;

    public SplitMix(ulong seed, string purpose, long index)
    {
        var hash = 0xcbf29ce484222325UL; // FNV-1a over the purpose
        foreach (var c in purpose)
        {
            hash = (hash ^ c) * 0x100000001b3UL;
        }

        _state = Mix(seed ^ Mix(hash ^ Mix((ulong)index)));
    }

    public ulong NextBits() => Mix(_state += 0x9e3779b97f4a7c15UL);

    /// <summary>Uniform in [0, 1).</summary>
    public double NextDouble() => (NextBits() >> 11) * (1.0 / (1UL << 53));

    /// <summary>Uniform in [0, n).</summary>
    public int Next(int n) => (int)Math.BigMul(NextBits(), (ulong)n, out _);

    /// <summary>Standard normal (Box–Muller).</summary>
    public double NextGaussian()
    {
        var u = 1 - NextDouble();
        return Math.Sqrt(-2 * Math.Log(u)) * Math.Cos(2 * Math.PI * NextDouble());
    }

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
        return z ^ (z >> 31);
    }
}

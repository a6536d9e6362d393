namespace YaPO.Llama.Tests.Fuzz;

/// <summary>Damages valid files the way bad disks, cut downloads and hostile authors do. Everything follows from the seed.</summary>
internal sealed class Mutator(int seed)
{
    private static readonly ulong[] Interesting =
        [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, ulong.MaxValue, 1UL << 40, 3, 16, 33];

    private readonly Random _random = new(seed);

    public byte[] Mutate(byte[] valid)
    {
        var bytes = valid.ToArray();
        for (var n = _random.Next(1, 4); n > 0 && bytes.Length > 0; n--)
        {
            var at = _random.Next(bytes.Length);
            switch (_random.Next(7))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << _random.Next(8));
                    break;
                case 1:
                    bytes[at] = (byte)_random.Next(256);
                    break;
                case 2:
                case 3:
                    // A number of 1, 2, 4 or 8 bytes becomes one that tends to overflow.
                    var width = 1 << _random.Next(4);
                    BitConverter.GetBytes(Interesting[_random.Next(Interesting.Length)]).AsSpan(0, Math.Min(width, bytes.Length - at)).CopyTo(bytes.AsSpan(at));
                    break;
                case 4:
                    bytes = bytes[..at];
                    break;
                case 5:
                    var length = Math.Min(_random.Next(1, 64), bytes.Length - at);
                    bytes = [.. bytes[..at], .. bytes[(at + length)..]];
                    break;
                default:
                    var from = _random.Next(bytes.Length);
                    var copy = Math.Min(_random.Next(1, 64), bytes.Length - from);
                    bytes = [.. bytes[..at], .. bytes.AsSpan(from, copy), .. bytes[at..]];
                    break;
            }
        }

        return bytes;
    }
}

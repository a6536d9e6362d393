using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace YaPO.Llama.Tensors;

/// <summary>
/// A tensor of floating-point numbers inside a file, read on demand by element ranges: files larger than memory are fine. Disposing twice is harmless.
/// </summary>
public sealed class TensorData : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly long _dataOffset;
    private readonly FileStream? _owned;
    private readonly string _what;

    /// <summary>Data at <paramref name="dataOffset"/> of a file; <paramref name="owned"/> is closed with the array.</summary>
    internal TensorData(TensorInfo info, SafeFileHandle handle, long dataOffset, string what, FileStream? owned)
    {
        (Info, _handle, _dataOffset, _what, _owned) = (info, handle, dataOffset, what, owned);
    }

    /// <summary>Type, order and shape.</summary>
    public TensorInfo Info { get; }

    /// <summary>File and member, as messages name them.</summary>
    public string Description => _what;

    /// <summary>
    /// Reads elements <paramref name="first"/>, … in the order they are stored (C or Fortran), converted to float.
    /// </summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Io"/> when the file cannot deliver them.</exception>
    public void Read(long first, Span<float> destination)
    {
        if (first < 0 || first > Info.Elements - destination.Length)
        {
            throw new ArgumentOutOfRangeException(nameof(first), $"elements {first} … {first + destination.Length} of {Info.Elements}");
        }

        var item = Info.Type.ItemBytes();
        if (Info.Type == TensorType.F32)
        {
            const int part = 1 << 24; // so that the length in bytes stays an int
            for (var done = 0; done < destination.Length; done += part)
            {
                var values = destination.Slice(done, Math.Min(part, destination.Length - done));
                ReadBytes(_dataOffset + ((first + done) * item), MemoryMarshal.AsBytes(values));
            }

            return;
        }

        var buffer = new byte[Math.Min(destination.Length, 1 << 14) * item];
        for (var done = 0; done < destination.Length;)
        {
            var values = destination.Slice(done, Math.Min(1 << 14, destination.Length - done));
            var bytes = buffer.AsSpan(0, values.Length * item);
            ReadBytes(_dataOffset + ((first + done) * item), bytes);
            Convert(Info.Type, bytes, values);
            done += values.Length;
        }
    }

    /// <summary>The whole array in C order (last index fastest).</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Unsupported"/> beyond 2^31 elements, or for Fortran order with more
    /// than two dimensions.</exception>
    public float[] ReadAll()
    {
        if (Info.Elements > Array.MaxLength)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{_what}: {Info.Elements:N0} elements are too many to be read at once");
        }

        var values = new float[Info.Elements];
        Read(0, values);
        if (!Info.FortranOrder || Info.Shape.Count < 2)
        {
            return values;
        }

        if (Info.Shape.Count > 2)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{_what}: Fortran order with {Info.Shape.Count} dimensions is not supported; save it with numpy.ascontiguousarray");
        }

        var (rows, columns) = ((int)Info.Shape[0], (int)Info.Shape[1]);
        var result = new float[values.Length];
        for (var r = 0; r < rows; r++)
        {
            for (var c = 0; c < columns; c++)
            {
                result[(r * columns) + c] = values[(c * rows) + r];
            }
        }

        return result;
    }

    /// <inheritdoc/>
    public void Dispose() => _owned?.Dispose();

    private static void Convert(TensorType type, ReadOnlySpan<byte> bytes, Span<float> values)
    {
        switch (type)
        {
            case TensorType.F16:
                var halves = MemoryMarshal.Cast<byte, Half>(bytes);
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = (float)halves[i];
                }

                break;
            case TensorType.BF16:
                var words = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = BitConverter.UInt32BitsToSingle((uint)words[i] << 16);
                }

                break;
            case TensorType.F64:
                var doubles = MemoryMarshal.Cast<byte, double>(bytes);
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = (float)doubles[i];
                }

                break;
            default:
                throw new InvalidOperationException($"{type} is not readable; sources check that before they open a tensor");
        }
    }

    private void ReadBytes(long offset, Span<byte> bytes)
    {
        try
        {
            for (var done = 0; done < bytes.Length;)
            {
                var n = RandomAccess.Read(_handle, bytes[done..], offset + done);
                if (n == 0)
                {
                    throw new YapoException(YapoErrorKind.Io, $"{_what}: the file became shorter while it was read");
                }

                done += n;
            }
        }
        catch (IOException e)
        {
            throw new YapoException(YapoErrorKind.Io, $"cannot read {_what}: {e.Message}", e);
        }
    }
}

using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using YaPO.Llama.Tensors;

namespace YaPO.Llama.Numpy;

/// <summary>
/// The head of a <c>.npy</c> stream: <c>\x93NUMPY</c>, version 1 to 3, and a Python dictionary literal with <c>descr</c>,
/// <c>fortran_order</c> and <c>shape</c>.
/// </summary>
/// <param name="Type">Element type.</param>
/// <param name="FortranOrder">True: the first index varies fastest.</param>
/// <param name="Shape">Dimensions; none for a scalar.</param>
/// <param name="HeaderBytes">Bytes before the data.</param>
internal sealed record NpyHeader(TensorType Type, bool FortranOrder, IReadOnlyList<long> Shape, int HeaderBytes)
{
    private const int MaxHeaderBytes = 1 << 16;

    /// <summary>The header as the description of a tensor.</summary>
    public TensorInfo ToInfo(string name) => new(name, Type, Shape, FortranOrder);

    /// <summary>Reads the head from a stream, leaving it at the first data byte.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="what">Opens the messages: file, and member of an archive.</param>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>, or <see cref="YapoErrorKind.Unsupported"/> for element
    /// types other than 2, 4 and 8 byte floats.</exception>
    public static NpyHeader Read(Stream stream, string what)
    {
        Span<byte> head = stackalloc byte[12];
        ReadOnlySpan<byte> magic = [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];
        if (stream.ReadAtLeast(head[..8], 8, throwOnEndOfStream: false) < 8 || !head[..6].SequenceEqual(magic))
        {
            throw Bad("it does not start with \\x93NUMPY, so it is no .npy");
        }

        var version = head[6];
        if (version is < 1 or > 3)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{what}: .npy version {version} is not supported, expected 1 to 3");
        }

        var lengthBytes = version == 1 ? 2 : 4;
        if (stream.ReadAtLeast(head[8..(8 + lengthBytes)], lengthBytes, throwOnEndOfStream: false) < lengthBytes)
        {
            throw Bad("it ends inside the header");
        }

        var length = version == 1 ? BinaryPrimitives.ReadUInt16LittleEndian(head[8..]) : BinaryPrimitives.ReadUInt32LittleEndian(head[8..]);
        if (length > MaxHeaderBytes)
        {
            throw Bad($"its header claims {length} bytes, at most {MaxHeaderBytes} are read");
        }

        var text = new byte[length];
        if (stream.ReadAtLeast(text, text.Length, throwOnEndOfStream: false) < text.Length)
        {
            throw Bad("it ends inside the header");
        }

        var (descr, fortran, shape) = new PythonDict(Encoding.Latin1.GetString(text), what).Parse();
        TensorInfo.CheckShape(shape, what);
        return new NpyHeader(TypeOf(descr, what), fortran, shape, 8 + lengthBytes + (int)length);

        YapoException Bad(string message) => new(YapoErrorKind.Format, $"{what}: {message}");
    }

    private static TensorType TypeOf(string descr, string what) => descr switch
    {
        "<f2" => TensorType.F16,
        "<f4" => TensorType.F32,
        "<f8" => TensorType.F64,
        _ when descr.Contains('O', StringComparison.Ordinal) => throw new YapoException(
            YapoErrorKind.Unsupported, $"{what}: it holds Python objects (dtype '{descr}'), which means pickle and is refused; save a plain float array"),
        _ => throw new YapoException(YapoErrorKind.Unsupported, $"{what}: dtype '{descr}' is not supported, expected <f2, <f4 or <f8"),
    };

    /// <summary>The part of Python's literal syntax that NumPy writes: one dictionary of strings, booleans and integer tuples.</summary>
    private sealed class PythonDict(string text, string what)
    {
        private int _i;

        public (string Descr, bool Fortran, long[] Shape) Parse()
        {
            string? descr = null;
            bool? fortran = null;
            long[]? shape = null;
            Expect('{');
            while (!Accept('}'))
            {
                var key = String();
                Expect(':');
                switch (key)
                {
                    case "descr" when descr is null && Peek() is '\'' or '"':
                        descr = String();
                        break;
                    case "descr" when descr is null:
                        throw new YapoException(YapoErrorKind.Unsupported, $"{what}: structured arrays are not supported, expected dtype <f2, <f4 or <f8");
                    case "fortran_order" when fortran is null:
                        fortran = Boolean();
                        break;
                    case "shape" when shape is null:
                        shape = Tuple();
                        break;
                    default:
                        throw Bad($"key '{key}' is unknown or there twice");
                }

                if (!Accept(','))
                {
                    Expect('}');
                    break;
                }
            }

            return descr is not null && fortran is { } f && shape is not null ? (descr, f, shape) : throw Bad("descr, fortran_order or shape is missing");
        }

        private long[] Tuple()
        {
            var values = new List<long>();
            Expect('(');
            while (!Accept(')'))
            {
                Peek();
                var start = _i;
                while (_i < text.Length && char.IsAsciiDigit(text[_i]))
                {
                    _i++;
                }

                if (!long.TryParse(text.AsSpan(start, _i - start), NumberStyles.None, CultureInfo.InvariantCulture, out var n) || values.Count == 32)
                {
                    throw Bad("the shape is no tuple of integers");
                }

                values.Add(n);
                Accept('L'); // Python 2 wrote long integers so
                if (!Accept(','))
                {
                    Expect(')');
                    break;
                }
            }

            return [.. values];
        }

        private bool Boolean()
        {
            Peek();
            foreach (var (word, value) in new[] { ("True", true), ("False", false) })
            {
                if (text.AsSpan(_i).StartsWith(word, StringComparison.Ordinal))
                {
                    _i += word.Length;
                    return value;
                }
            }

            throw Bad("fortran_order is neither True nor False");
        }

        private string String()
        {
            var quote = Peek();
            var end = quote is '\'' or '"' ? text.IndexOf(quote, _i + 1) : -1;
            if (end < 0)
            {
                throw Bad("a quoted string was expected");
            }

            var value = text[(_i + 1)..end];
            _i = end + 1;
            return value;
        }

        private char Peek()
        {
            while (_i < text.Length && (text[_i] is ' ' or '\t' or '\n' or '\r' or '\f')) // what Python takes for white space
            {
                _i++;
            }

            return _i < text.Length ? text[_i] : '\0';
        }

        private bool Accept(char c)
        {
            if (Peek() != c)
            {
                return false;
            }

            _i++;
            return true;
        }

        private void Expect(char c)
        {
            if (!Accept(c))
            {
                throw Bad($"'{c}' was expected at character {_i}");
            }
        }

        private YapoException Bad(string message) => new(YapoErrorKind.Format, $"{what}: the .npy header cannot be read: {message}");
    }
}

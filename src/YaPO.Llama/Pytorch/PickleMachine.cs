using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace YaPO.Llama.Pytorch;

/// <summary>
/// Reads a pickle of protocol 2 as data. Only the opcodes that PyTorch writes for tensors, numbers, text and containers of them are known, only the names in
/// <see cref="PickleGlobals"/> may appear, and none of them is ever called: a call of <c>_rebuild_tensor_v2</c> becomes a record that says so. Everything else is refused by
/// name, so a file that would run code in Python is an error here.
/// </summary>
internal sealed class PickleMachine
{
    private const int MaxTextBytes = 1 << 20;
    private const int MaxNameBytes = 256;

    private readonly byte[] _bytes;
    private readonly string _what;
    private readonly List<object?> _stack = [];
    private readonly List<int> _marks = [];
    private readonly Dictionary<uint, object?> _memo = [];
    private int _at;

    private PickleMachine(byte[] bytes, string what) => (_bytes, _what) = (bytes, what);

    /// <summary>The value that the pickle describes.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Unsupported"/>: an opcode or name that is not allowed; <see cref="YapoErrorKind.Format"/>: damaged.</exception>
    public static object? Read(byte[] bytes, string what) => new PickleMachine(bytes, what).Run();

    private object? Run()
    {
        while (true)
        {
            var opcode = (PickleOpcode)Byte();
            switch (opcode)
            {
                case PickleOpcode.PROTO when Byte() is var version:
                    if (version != 2)
                    {
                        throw new YapoException(YapoErrorKind.Unsupported, $"{_what}: pickle protocol {version}, expected 2, which torch.save uses unless told otherwise");
                    }

                    break;
                case PickleOpcode.STOP:
                    return _stack.Count == 1 && _marks.Count == 0 && _at == _bytes.Length ? _stack[0] : throw Bad("it does not end with exactly one value");
                case PickleOpcode.MARK:
                    _marks.Add(_stack.Count);
                    break;
                case PickleOpcode.NONE:
                    _stack.Add(null);
                    break;
                case PickleOpcode.NEWTRUE:
                    _stack.Add(true);
                    break;
                case PickleOpcode.NEWFALSE:
                    _stack.Add(false);
                    break;
                case PickleOpcode.BININT:
                    _stack.Add((long)BinaryPrimitives.ReadInt32LittleEndian(Bytes(4)));
                    break;
                case PickleOpcode.BININT1:
                    _stack.Add((long)Byte());
                    break;
                case PickleOpcode.BININT2:
                    _stack.Add((long)BinaryPrimitives.ReadUInt16LittleEndian(Bytes(2)));
                    break;
                case PickleOpcode.LONG1:
                    _stack.Add(Long(Bytes(Byte())));
                    break;
                case PickleOpcode.BINFLOAT:
                    _stack.Add(BinaryPrimitives.ReadDoubleBigEndian(Bytes(8)));
                    break;
                case PickleOpcode.BINUNICODE:
                    _stack.Add(Text(BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4))));
                    break;
                case PickleOpcode.SHORT_BINSTRING:
                    _stack.Add(Text(Byte()));
                    break;
                case PickleOpcode.EMPTY_LIST:
                    _stack.Add(new List<object?>());
                    break;
                case PickleOpcode.EMPTY_TUPLE:
                    _stack.Add(Array.Empty<object?>());
                    break;
                case PickleOpcode.EMPTY_DICT:
                    _stack.Add(new PickleDictionary());
                    break;
                case PickleOpcode.TUPLE:
                    _stack.Add(PopToMark());
                    break;
                case PickleOpcode.TUPLE1 or PickleOpcode.TUPLE2 or PickleOpcode.TUPLE3:
                    var tuple = new object?[opcode - PickleOpcode.TUPLE1 + 1];
                    for (var i = tuple.Length - 1; i >= 0; i--)
                    {
                        tuple[i] = Pop();
                    }

                    _stack.Add(tuple);
                    break;
                case PickleOpcode.APPEND:
                    Append([Pop()]);
                    break;
                case PickleOpcode.APPENDS:
                    Append(PopToMark());
                    break;
                case PickleOpcode.SETITEM when Pop() is var value:
                    SetItems([Pop(), value]);
                    break;
                case PickleOpcode.SETITEMS:
                    SetItems(PopToMark());
                    break;
                case PickleOpcode.BINPUT:
                    _memo[Byte()] = Top();
                    break;
                case PickleOpcode.LONG_BINPUT:
                    _memo[BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4))] = Top();
                    break;
                case PickleOpcode.BINGET:
                    Recall(Byte());
                    break;
                case PickleOpcode.LONG_BINGET:
                    Recall(BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4)));
                    break;
                case PickleOpcode.GLOBAL:
                    var name = $"{Line()} {Line()}";
                    _stack.Add(PickleGlobals.Find(name) ?? throw new YapoException(
                        YapoErrorKind.Unsupported, $"{_what}: it refers to Python's '{name.Replace(' ', '.')}', which is refused: only tensors and plain data are read, and nothing is ever run"));
                    break;
                case PickleOpcode.REDUCE:
                    Reduce();
                    break;
                case PickleOpcode.BUILD:
                    Build();
                    break;
                case PickleOpcode.BINPERSID:
                    _stack.Add(PickleGlobals.Storage(Pop()) ?? throw Bad("a storage is not described as PyTorch does it"));
                    break;
                default:
                    var known = Enum.IsDefined(opcode) ? opcode.ToString() : $"0x{(byte)opcode:x2}";
                    throw new YapoException(YapoErrorKind.Unsupported, $"{_what}: pickle opcode {known} at byte {_at - 1} is refused: only tensors and plain data are read, and nothing is ever run");
            }
        }
    }

    private void Reduce()
    {
        if (Pop() is not object?[] arguments || Pop() is not PickleGlobal function)
        {
            throw Bad("REDUCE without a function and its arguments");
        }

        _stack.Add(PickleGlobals.Call(function.Name, arguments) ?? throw Bad($"{function.Name.Replace(' ', '.')} is called with arguments that PyTorch does not write"));
    }

    /// <summary>A state_dict carries its <c>_metadata</c> as state of the OrderedDict: nothing in it describes data.</summary>
    private void Build()
    {
        if (Pop() is not PickleDictionary || Top() is not PickleDictionary)
        {
            throw new YapoException(YapoErrorKind.Unsupported, $"{_what}: BUILD of something else than a dictionary is refused: only tensors and plain data are read");
        }
    }

    private void Append(object?[] items)
    {
        if (Top() is not List<object?> list)
        {
            throw Bad("APPEND to something that is no list");
        }

        list.AddRange(items);
    }

    private void SetItems(object?[] items)
    {
        if (Top() is not PickleDictionary dictionary || items.Length % 2 != 0)
        {
            throw Bad("SETITEM on something that is no dictionary, or a key without value");
        }

        for (var i = 0; i < items.Length; i += 2)
        {
            dictionary.Entries.Add((items[i], items[i + 1]));
        }
    }

    private void Recall(uint key) => _stack.Add(_memo.TryGetValue(key, out var value) ? value : throw Bad($"value {key} is used before it is made"));

    private object?[] PopToMark()
    {
        if (_marks.Count == 0)
        {
            throw Bad("a MARK is missing");
        }

        var first = _marks[^1];
        _marks.RemoveAt(_marks.Count - 1);
        var items = _stack[first..].ToArray();
        _stack.RemoveRange(first, items.Length);
        return items;
    }

    /// <summary>Values below the last mark belong to whoever set it.</summary>
    private int Floor => _marks.Count == 0 ? 0 : _marks[^1];

    private object? Top() => _stack.Count > Floor ? _stack[^1] : throw Bad("a value is missing");

    private object? Pop()
    {
        var value = Top();
        _stack.RemoveAt(_stack.Count - 1);
        return value;
    }

    private byte Byte() => Bytes(1)[0];

    private ReadOnlySpan<byte> Bytes(int count)
    {
        if (count > _bytes.Length - _at)
        {
            throw Bad("it ends too early");
        }

        _at += count;
        return _bytes.AsSpan(_at - count, count);
    }

    private string Text(uint bytes)
    {
        var text = Bytes(bytes <= MaxTextBytes ? (int)bytes : throw Bad($"a text of {bytes:N0} bytes is too long"));
        try
        {
            return Strict.GetString(text);
        }
        catch (DecoderFallbackException)
        {
            throw Bad("a text is no UTF-8");
        }
    }

    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    private string Line()
    {
        var length = _bytes.AsSpan(_at, Math.Min(MaxNameBytes, _bytes.Length - _at)).IndexOf((byte)'\n');
        if (length < 0)
        {
            throw Bad("a name does not end");
        }

        var name = Encoding.Latin1.GetString(Bytes(length));
        _at++;
        return name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.') ? name : throw Bad(string.Create(CultureInfo.InvariantCulture, $"byte {_at}: a name holds characters that no name has"));
    }

    private long Long(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > 8)
        {
            throw Bad($"an integer of {bytes.Length} bytes is too large");
        }

        Span<byte> all = stackalloc byte[8];
        all.Fill(bytes.Length > 0 && (bytes[^1] & 0x80) != 0 ? (byte)0xFF : (byte)0);
        bytes.CopyTo(all);
        return BinaryPrimitives.ReadInt64LittleEndian(all);
    }

    private YapoException Bad(string message) => new(YapoErrorKind.Format, $"{_what}: the pickle in it is damaged: {message}");
}

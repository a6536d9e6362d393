using YaPO.Llama.Tensors;

namespace YaPO.Llama.Pytorch;

/// <summary>Every name that a pickle may mention, and what stands for it. Nothing is ever imported or called.</summary>
internal static class PickleGlobals
{
    private static readonly Dictionary<string, TensorType> Storages = new(StringComparer.Ordinal)
    {
        ["torch DoubleStorage"] = TensorType.F64, ["torch FloatStorage"] = TensorType.F32, ["torch HalfStorage"] = TensorType.F16, ["torch BFloat16Storage"] = TensorType.BF16,
        ["torch LongStorage"] = TensorType.I64, ["torch IntStorage"] = TensorType.I32, ["torch ShortStorage"] = TensorType.I16, ["torch CharStorage"] = TensorType.I8,
        ["torch ByteStorage"] = TensorType.U8, ["torch BoolStorage"] = TensorType.Bool,
    };

    private static readonly HashSet<string> Functions =
    [
        "collections OrderedDict", "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch Size", "torch device",
    ];

    private static readonly HashSet<string> Constants =
    [
        "torch float64", "torch float32", "torch float16", "torch bfloat16", "torch int64", "torch int32", "torch int16", "torch int8", "torch uint8", "torch bool",
        "torch float8_e4m3fn", "torch float8_e5m2",
    ];

    /// <summary>The value of opcode GLOBAL, or null for a name that is not on the list.</summary>
    public static object? Find(string name) =>
        Constants.Contains(name) ? new PickleOpaque(name) : Storages.ContainsKey(name) || Functions.Contains(name) ? new PickleGlobal(name) : null;

    /// <summary>A persistent id: <c>('storage', type, key, location, elements)</c>. Null: anything else.</summary>
    public static PickleStorage? Storage(object? id) =>
        id is object?[] { Length: 5 } t && t[0] is "storage" && t[1] is PickleGlobal type && Storages.TryGetValue(type.Name, out var item)
            && t[2] is string key && t[3] is string && t[4] is long elements and >= 0 and <= 1L << 48
            ? new PickleStorage(item, key, elements)
            : null;

    /// <summary>What a call of a listed function makes, or null when the arguments are none that PyTorch writes.</summary>
    public static object? Call(string function, object?[] arguments) => (function, arguments) switch
    {
        ("collections OrderedDict", []) => new PickleDictionary(),
        ("torch Size", [object?[] sizes]) => sizes,
        ("torch device", [string, ..]) => new PickleOpaque(function),
        ("torch._utils _rebuild_parameter", [PickleTensor tensor, bool, PickleDictionary]) => tensor,
        ("torch._utils _rebuild_tensor", [PickleStorage s, long offset, object?[] shape, object?[] strides]) => Tensor(s, offset, shape, strides),
        // The storage, offset, size, stride, requires_grad, backward hooks, and in later versions metadata.
        ("torch._utils _rebuild_tensor_v2", [PickleStorage s, long offset, object?[] shape, object?[] strides, bool, PickleDictionary, ..]) when arguments.Length <= 7 =>
            Tensor(s, offset, shape, strides),
        _ => null,
    };

    private static PickleTensor? Tensor(PickleStorage storage, long offset, object?[] shape, object?[] strides) =>
        offset >= 0 && shape.Length == strides.Length && shape.All(n => n is long) && strides.All(n => n is long)
            ? new PickleTensor(storage, offset, [.. shape.Cast<long>()], [.. strides.Cast<long>()])
            : null;
}

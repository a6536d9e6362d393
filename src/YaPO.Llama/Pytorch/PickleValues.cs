using YaPO.Llama.Tensors;

namespace YaPO.Llama.Pytorch;

// What a pickle can hold here, besides string, long, double, bool, null, object?[] (a tuple) and List<object?>.

/// <summary>A dictionary or OrderedDict, in the order of insertion.</summary>
internal sealed class PickleDictionary
{
    public List<(object? Key, object? Value)> Entries { get; } = [];
}

/// <summary>A name of Python that is on the list; it is never looked up, let alone called.</summary>
internal sealed record PickleGlobal(string Name);

/// <summary>A harmless value of no interest, such as a dtype or a device.</summary>
internal sealed record PickleOpaque(string Name);

/// <summary>The memory of a tensor: member <c>data/KEY</c> of the archive.</summary>
internal sealed record PickleStorage(TensorType Type, string Key, long Elements);

/// <summary>A view into a storage; offset and strides count elements.</summary>
internal sealed record PickleTensor(PickleStorage Storage, long Offset, long[] Shape, long[] Strides);

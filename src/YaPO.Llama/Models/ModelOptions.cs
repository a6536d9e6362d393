namespace YaPO.Llama.Models;

/// <summary>How a model is loaded.</summary>
public sealed record ModelOptions
{
    /// <summary>Layers to offload to the device; -1 all, 0 none.</summary>
    public int GpuLayers { get; init; } = -1;

    /// <summary>Only the tokenizer and the metadata: loads in milliseconds, cannot decode.</summary>
    public bool VocabularyOnly { get; init; }

    /// <summary>Loads no weights: contexts only work out what they would allocate (<see cref="Sessions.LlamaContext.Memory"/>), and cannot decode.</summary>
    public bool SizesOnly { get; init; }

    /// <summary>Maps the file instead of reading it: faster to start, shared between processes.</summary>
    public bool UseMemoryMap { get; init; } = true;

    /// <summary>
    /// Computes on the CPU with the weights as the file holds them. Otherwise llama.cpp copies those of many types into an order that is faster, and the copy takes as much memory as they do.
    /// </summary>
    public bool KeepLayout { get; init; }

    /// <summary>Null: the <see cref="Rpc"/> servers, then the GPUs; else <c>cpu</c>, or a name from <see cref="LlamaRuntime.Devices"/> or <see cref="LlamaRuntime.RpcDevices"/>.</summary>
    public string? Device { get; init; }

    /// <summary>Servers of llama.cpp's RPC backend, <c>host:port,host:port</c>.</summary>
    public string? Rpc { get; init; }
}

/// <summary>What a model is, as llama.cpp read it.</summary>
/// <param name="Architecture"><c>gemma2</c> and the like.</param>
/// <param name="Name"><c>general.name</c>; empty where the file has none.</param>
/// <param name="Description">llama.cpp's short description: architecture, size, quantization.</param>
/// <param name="LayerCount">L: blocks.</param>
/// <param name="ModelWidth">D: width of the residual stream.</param>
/// <param name="HeadCount">Attention heads.</param>
/// <param name="KeyValueHeadCount">Key and value heads.</param>
/// <param name="VocabularySize">V: tokens.</param>
/// <param name="TrainingContext">Tokens that the model was trained with.</param>
/// <param name="BosToken">-1 where the vocabulary has none.</param>
/// <param name="EosToken">-1 where the vocabulary has none.</param>
/// <param name="EotToken">-1 where the vocabulary has none.</param>
/// <param name="AddsBos">The model wants a BOS token in front.</param>
/// <param name="ParameterCount">Weights.</param>
/// <param name="TensorBytes">Bytes of all tensors.</param>
public sealed record ModelInfo(
    string Architecture,
    string Name,
    string Description,
    int LayerCount,
    int ModelWidth,
    int HeadCount,
    int KeyValueHeadCount,
    int VocabularySize,
    int TrainingContext,
    int BosToken,
    int EosToken,
    int EotToken,
    bool AddsBos,
    ulong ParameterCount,
    ulong TensorBytes);

using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using YaPO.Llama.Gguf;
using YaPO.Llama.IO;

namespace YaPO.Llama.Models;

/// <summary>What a model file says about itself, with its fingerprint.</summary>
/// <param name="Fingerprint">See <see cref="ModelFingerprint"/>.</param>
/// <param name="Architecture"><c>general.architecture</c>.</param>
/// <param name="Name"><c>general.name</c>, or an empty string.</param>
/// <param name="Quantization">Such as <c>F16</c>, <c>Q8_0</c>, <c>Q4_K_M</c>.</param>
/// <param name="DModel">Width of the residual stream.</param>
/// <param name="LayerCount">Number of blocks.</param>
/// <param name="ChatTemplateSha256">SHA-256 of the chat template, or an empty string without one.</param>
/// <param name="SizeBytes">Length of the file.</param>
public sealed record ModelIdentity(string Fingerprint, string Architecture, string Name, string Quantization, int DModel, int LayerCount, string ChatTemplateSha256, long SizeBytes)
{
    /// <summary>This model as vectors and SAEs record their base model.</summary>
    /// <param name="fileSha256">SHA-256 of the file (<see cref="InputFile.Sha256"/>), or an empty string when it is not worth the time.</param>
    public BaseModel ToBaseModel(string fileSha256 = "") => new()
    {
        Architecture = Architecture,
        Name = Name,
        Fingerprint = Fingerprint,
        FileSha256 = fileSha256,
        Quantization = Quantization,
        ChatTemplateSha256 = ChatTemplateSha256,
    };
}

/// <summary>
/// The identity of a model whatever its quantization. SHA-256 over this text of length-prefixed fields (u32 little-endian length,
/// then bytes):
/// <list type="number">
/// <item>the literal <c>yapo-fingerprint-1</c>; the architecture <c>A</c>;</item>
/// <item>for each of A.block_count, A.embedding_length, A.feed_forward_length, A.attention.head_count, A.attention.head_count_kv: the
/// key without <c>A.</c>, and the decimal value (values of a per-block array joined by commas; empty when the key is missing);</item>
/// <item>tokenizer.ggml.model, and every token's bytes in order;</item>
/// <item>for every 1-D tensor whose name ends in <c>norm.weight</c>, by name in ordinal order: its name and its values as F32
/// little-endian.</item>
/// </list>
/// Quantization leaves all of these alone, and so do newer converters, which add other keys. A fine-tune that trains the norms has another
/// fingerprint; one that leaves them alone (most LoRA merges) shares its base's.
/// </summary>
public static class ModelFingerprint
{
    private static readonly string[] HyperParameters =
        ["block_count", "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv"];

    /// <summary>Reads the head and the norm tensors of a model file.</summary>
    /// <exception cref="YapoException">It is no GGUF model.</exception>
    public static ModelIdentity Compute(string path)
    {
        using var file = GgufFile.Open(path);
        return Compute(file);
    }

    /// <summary>The same for an open file.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Format"/>: it is no model.</exception>
    public static ModelIdentity Compute(GgufFile file)
    {
        var metadata = file.Metadata;
        var architecture = metadata.RequireString("general.architecture");
        if (!metadata.ContainsKey($"{architecture}.block_count") || !metadata.ContainsKey($"{architecture}.embedding_length"))
        {
            var found = architecture switch
            {
                Sae.SaeFile.Architecture => "it is an SAE",
                Steering.SteeringFile.Architecture => "it is a steering vector",
                Steering.ControlVectorFile.Architecture => "it is a control vector",
                _ => $"architecture '{architecture}' without block_count and embedding_length",
            };
            throw new YapoException(YapoErrorKind.Format, $"{file.Path} is no model: {found}");
        }

        var d = metadata.RequireUInt32($"{architecture}.embedding_length");
        var layers = metadata.RequireUInt32($"{architecture}.block_count");
        if (d is < 1 or > 1 << 24 || layers > 1 << 20)
        {
            throw new YapoException(YapoErrorKind.Format, $"{file.Path}: embedding_length {d} or block_count {layers} is out of range");
        }

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Field(hash, "yapo-fingerprint-1");
        Field(hash, architecture);
        foreach (var name in HyperParameters)
        {
            Field(hash, name);
            Field(hash, Number(metadata, $"{architecture}.{name}"));
        }

        Field(hash, metadata.GetString("tokenizer.ggml.model") ?? "");
        var tokens = metadata.GetStrings("tokenizer.ggml.tokens");
        for (var i = 0; i < (tokens?.Count ?? 0); i++)
        {
            Field(hash, tokens!.Bytes(i));
        }

        foreach (var tensor in file.Tensors.Where(t => t.Shape.Count == 1 && t.Name.EndsWith("norm.weight", StringComparison.Ordinal)).OrderBy(t => t.Name, StringComparer.Ordinal))
        {
            Field(hash, tensor.Name);
            Field(hash, MemoryMarshal.AsBytes(file.ReadFloats(tensor).AsSpan()));
        }

        var template = metadata.GetString("tokenizer.chat_template");
        return new ModelIdentity(
            Convert.ToHexStringLower(hash.GetHashAndReset()),
            architecture,
            metadata.GetString("general.name") ?? "",
            QuantizationName.Of(file),
            (int)d,
            (int)layers,
            string.IsNullOrEmpty(template) ? "" : Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(template))),
            file.Length);
    }

    private static string Number(GgufMetadata metadata, string key)
    {
        if (!metadata.TryGetValue(key, out var value))
        {
            return "";
        }

        return value.Data is Array array and not bool[]
            ? string.Join(',', array.Cast<IFormattable>().Select(n => n.ToString(null, CultureInfo.InvariantCulture)))
            : (metadata.GetUInt64(key) ?? 0).ToString(CultureInfo.InvariantCulture);
    }

    private static void Field(IncrementalHash hash, string text) => Field(hash, Encoding.UTF8.GetBytes(text));

    private static void Field(IncrementalHash hash, ReadOnlySpan<byte> bytes)
    {
        Span<byte> length = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, bytes.Length);
        hash.AppendData(length);
        hash.AppendData(bytes);
    }
}

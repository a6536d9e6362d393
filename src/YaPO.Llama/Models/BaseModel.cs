using YaPO.Llama.Gguf;

namespace YaPO.Llama.Models;

/// <summary>
/// The model that a vector or an SAE was made for, as its file records it (<c>yapo.base.*</c>). Empty strings mean unknown.
/// </summary>
public sealed record BaseModel
{
    /// <summary>Nothing is known about the base model.</summary>
    public static readonly BaseModel Unknown = new();

    /// <summary><c>general.architecture</c> of the model, such as <c>gemma2</c>.</summary>
    public string Architecture { get; init; } = "";

    /// <summary>Its name, for people.</summary>
    public string Name { get; init; } = "";

    /// <summary>See <see cref="ModelFingerprint"/>; equal for every quantization of one model.</summary>
    public string Fingerprint { get; init; } = "";

    /// <summary>SHA-256 of the exact file that was used. Informational.</summary>
    public string FileSha256 { get; init; } = "";

    /// <summary>Its quantization, such as <c>Q4_K_M</c>. Informational.</summary>
    public string Quantization { get; init; } = "";

    /// <summary>SHA-256 of the chat template that training formatted with.</summary>
    public string ChatTemplateSha256 { get; init; } = "";

    internal static BaseModel Read(GgufMetadata metadata) => new()
    {
        Architecture = metadata.GetString("yapo.base.architecture") ?? "",
        Name = metadata.GetString("yapo.base.name") ?? "",
        Fingerprint = metadata.GetString("yapo.base.fingerprint") ?? "",
        FileSha256 = metadata.GetString("yapo.base.file_sha256") ?? "",
        Quantization = metadata.GetString("yapo.base.quantization") ?? "",
        ChatTemplateSha256 = metadata.GetString("yapo.base.chat_template_sha256") ?? "",
    };

    internal void Write(GgufWriter writer) => writer
        .SetIfAny("yapo.base.architecture", Architecture)
        .SetIfAny("yapo.base.name", Name)
        .SetIfAny("yapo.base.fingerprint", Fingerprint)
        .SetIfAny("yapo.base.file_sha256", FileSha256)
        .SetIfAny("yapo.base.quantization", Quantization)
        .SetIfAny("yapo.base.chat_template_sha256", ChatTemplateSha256);
}

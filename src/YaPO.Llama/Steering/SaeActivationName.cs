namespace YaPO.Llama.Steering;

/// <summary>The spelling of <see cref="SaeActivation"/> in files.</summary>
public static class SaeActivationName
{
    /// <summary><c>relu</c>, <c>jumprelu</c> or <c>topk</c>.</summary>
    public static string Of(SaeActivation activation) => activation switch
    {
        SaeActivation.Relu => "relu",
        SaeActivation.JumpRelu => "jumprelu",
        _ => "topk",
    };

    /// <summary>Reads the spelling.</summary>
    /// <exception cref="YapoException"><see cref="YapoErrorKind.Unsupported"/> for anything else; <paramref name="what"/> opens the message.</exception>
    public static SaeActivation Parse(string text, string what) => text switch
    {
        "relu" => SaeActivation.Relu,
        "jumprelu" => SaeActivation.JumpRelu,
        "topk" => SaeActivation.TopK,
        _ => throw new YapoException(YapoErrorKind.Unsupported, $"{what}: SAE activation '{text}' is unknown, expected relu, jumprelu or topk"),
    };
}

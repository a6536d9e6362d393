namespace YaPO.Llama.TorchSharp;

/// <summary>How the weights of the copy are stored and multiplied. Residual stream, norms, scores, logits, SAE rows and the vector are F32 in any case.</summary>
public enum TorchPrecision
{
    /// <summary>4 bytes per weight.</summary>
    F32,

    /// <summary>2 bytes per weight; activations are rounded to BF16 on the way into each product.</summary>
    BF16,
}

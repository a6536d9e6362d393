using YaPO.Llama.Gguf;

namespace YaPO.Llama.Models;

/// <summary>Names the quantization of a model file as people write it.</summary>
public static class QuantizationName
{
    // llama_ftype of llama.h; the numbers left out were removed from llama.cpp.
    private static readonly Dictionary<uint, string> FileTypes = new()
    {
        [0] = "F32", [1] = "F16", [2] = "Q4_0", [3] = "Q4_1", [7] = "Q8_0", [8] = "Q5_0", [9] = "Q5_1", [10] = "Q2_K",
        [11] = "Q3_K_S", [12] = "Q3_K_M", [13] = "Q3_K_L", [14] = "Q4_K_S", [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",
        [18] = "Q6_K", [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS", [23] = "IQ3_XXS", [24] = "IQ1_S",
        [25] = "IQ4_NL", [26] = "IQ3_S", [27] = "IQ3_M", [28] = "IQ2_S", [29] = "IQ2_M", [30] = "IQ4_XS", [31] = "IQ1_M",
        [32] = "BF16", [36] = "TQ1_0", [37] = "TQ2_0", [38] = "MXFP4", [39] = "NVFP4", [40] = "Q1_0", [41] = "Q2_0",
    };

    /// <summary>
    /// The name of <c>general.file_type</c>; without that key the type that holds most bytes of the matrices, or an empty string
    /// for a file without any.
    /// </summary>
    public static string Of(GgufFile file)
    {
        if (file.Metadata.GetUInt32("general.file_type") is { } type && FileTypes.TryGetValue(type & ~1024u, out var name))
        {
            return name;
        }

        return file.Tensors.Where(t => t.Shape.Count > 1).GroupBy(t => t.Type).OrderByDescending(g => g.Sum(t => t.Bytes))
            .Select(g => g.Key.ToString()).FirstOrDefault() ?? "";
    }
}

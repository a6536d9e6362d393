namespace YaPO.Llama.Sae.Formats;

/// <summary>
/// Gemma Scope, for Gemma 2: <c>gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82/params.npz</c>.
/// h = x·W_enc + b_enc, z = relu(h) · [h &gt; threshold], x̂ = z·W_dec + b_dec: the run-time form itself. (Lieberum et al. 2024, arXiv 2408.05147.)
/// </summary>
internal static class GemmaScope
{
    public static SaeFormat Table { get; } = new()
    {
        Name = "gemma-scope",
        Title = "Gemma Scope params.npz",
        Files = ["params.npz"],
        Recognizes = s => s.Tensors is Numpy.NpzReader && s.Has("b_enc", "b_dec", "threshold") && (s.Has("W_enc", "W_dec") || s.Has("w_enc", "w_dec")),
        Tensors =
        [
            new(SaePart.Encoder, "DF", "W_enc", "w_enc"),
            new(SaePart.Decoder, "FD", "W_dec", "w_dec"),
            new(SaePart.EncoderBias, "F", "b_enc"),
            new(SaePart.DecoderBias, "D", "b_dec"),
            new(SaePart.Threshold, "F", "threshold"),
        ],
        Describe = s =>
        {
            var path = GemmaScopePath.Parse(Path.GetFullPath(s.Path));
            var known = path.Repository.Length > 0;
            return new SaeDescription
            {
                Hook = s.Folders.Contains("embedding") ? new HookPoint(null, "embedding") : new HookPoint(path.Layer, path.Site is "" or "res" ? HookPoint.Residual : path.Site),
                BaseArchitecture = path.BaseName.Length > 0 ? "gemma2" : "",
                BaseName = path.BaseName,
                Name = path.Name,
                Source = known ? $"huggingface:google/{path.Name}/params.npz" : "",
                License = known ? "cc-by-4.0" : "",
                Attribution = known ? "Gemma Scope, Google DeepMind (Lieberum et al. 2024, arXiv 2408.05147)" : "",
                AverageL0 = path.AverageL0,
            };
        },
    };
}

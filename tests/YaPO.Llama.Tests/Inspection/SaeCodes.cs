using YaPO.Llama.Sae;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Inspection;

/// <summary>The codes of an SAE in double precision, slowly: what the graph is held against.</summary>
internal static class SaeCodes
{
    public static double[] Of(SaeFile sae, ReadOnlySpan<float> h)
    {
        var enc = sae.ReadEncoder();
        var pre = new double[sae.Info.Width];
        for (var j = 0; j < pre.Length; j++)
        {
            pre[j] = sae.EncBias[j];
            for (var i = 0; i < h.Length; i++)
            {
                pre[j] += (double)enc[(j * h.Length) + i] * h[i];
            }
        }

        var last = sae.Info.Activation == SaeActivation.TopK ? pre.OrderDescending().ElementAt(sae.Info.TopK - 1) : double.NegativeInfinity;
        return [.. pre.Select((x, j) => x > 0 && x >= last && x > sae.Threshold[j] ? x : 0)];
    }

    public static float[] Decoder(SaeFile sae) => Decoders.GetValue(sae, s => s.ReadDecoder());

    private static readonly System.Runtime.CompilerServices.ConditionalWeakTable<SaeFile, float[]> Decoders = [];
}

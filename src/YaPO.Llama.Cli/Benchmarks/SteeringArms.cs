using System.Globalization;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Sessions;

namespace YaPO.Llama.Cli.Benchmarks;

/// <summary>The arms of <c>bench steering</c>: time depends on sizes, so the vectors are random.</summary>
internal static class SteeringArms
{
    private const int DistinctSupport = 256;
    private const int ReadoutTop = 8;
    private const int StockSupports = 3; // of the sparse arms, on the route of an unpatched llama.cpp too

    /// <param name="model">Gives the shapes.</param>
    /// <param name="layer">Zero-based block of the sparse vectors.</param>
    /// <param name="supports">K of each sparse arm.</param>
    /// <param name="sequences">Batch sizes with a vector for each sequence.</param>
    /// <param name="rows">Decoder rows on the device.</param>
    /// <param name="sae">Its encoding and read-out are measured too; null: not.</param>
    public static IReadOnlyList<SteeringArm> Create(LlamaModel model, int layer, IReadOnlyList<int> supports, IReadOnlyList<int> sequences, DecoderRowType rows, SaeFile? sae)
    {
        var (layers, width) = (model.Info.LayerCount, model.Info.ModelWidth);
        var direction = RandomDirection(layers - 1, width);
        var arms = new List<SteeringArm>
        {
            new(SteeringArm.Unsteered, "unsteered"),
            new("unsteered, second context", "null"),
            new("idle (vectors attached and detached)", "idle") { Detached = true, Vectors = RandomVectors.Create(1, DistinctSupport, layer, width, rows) },
            new("control vector, all layers (llama.cpp)", "control_vector") { ControlVector = direction, ExtraBytes = sizeof(float) * direction.Length, ExtraProducts = direction.Length },
            new("dense, all layers", "dense") { Vectors = [.. Enumerable.Range(1, layers - 1).Select(l => AttachedVector.Dense($"dense {l}", l, direction.AsMemory((l - 1) * width, width)))], ExtraBytes = sizeof(float) * direction.Length, ExtraProducts = direction.Length },
        };
        arms.AddRange(supports.Select(k => Sparse(string.Create(CultureInfo.InvariantCulture, $"sparse, K = {k}"), RandomVectors.Create(1, k, layer, width, rows))));
        arms.AddRange(arms.Where(a => a.Kind == "sparse").Select(a => a with
        {
            Name = $"stock route (eval callback), {a.Name}",
            Kind = "stock",
            Stock = true,
            ExtraBytes = EncoderBytes(a.Vectors[0].SupportSize, width) + DecoderBytes(a.Vectors[0].SupportSize, width, DecoderRowType.F32), // whatever the rows are elsewhere
        }).Take(StockSupports).ToList());
        if (sae is not null)
        {
            var chosen = Enumerable.Range(0, Math.Min(DistinctSupport, sae.Info.Width)).ToArray();
            var decoder = new float[chosen.Length * width];
            sae.ReadDecoder(0, decoder);
            arms.Add(new($"whole SAE of {sae.Info.Width} latents, K = {chosen.Length}", "whole_sae")
            {
                Vectors = [AttachedVector.OfSae("whole SAE", sae, chosen, chosen.Select(i => 0.1f * ((i % 3) - 1)).ToArray(), decoder, rows)],
                ExtraBytes = EncoderBytes(sae.Info.Width, width) + DecoderBytes(chosen.Length, width, rows),
                ExtraProducts = (long)(sae.Info.Width + chosen.Length) * width,
            });
            arms.Add(new($"read-out of {sae.Info.Width} latents, top {ReadoutTop}", "readout")
            {
                Readout = new SaeReadout(sae, Math.Min(ReadoutTop, sae.Info.Width)),
                ExtraBytes = EncoderBytes(sae.Info.Width, width),
                ExtraProducts = (long)sae.Info.Width * width,
            });
        }

        foreach (var n in sequences)
        {
            var plain = $"{n} sequences, unsteered";
            arms.Add(new(plain, "unsteered") { Sequences = n, Baseline = plain });
            arms.Add(Sparse($"{n} sequences, a vector each, K = {DistinctSupport}", RandomVectors.Create(n, DistinctSupport, layer, width, rows)) with { Kind = "distinct", Sequences = n, Baseline = plain });
        }

        return arms;
    }

    private static SteeringArm Sparse(string name, IReadOnlyList<AttachedVector> vectors)
    {
        var (width, rows) = (vectors[0].ModelWidth, vectors[0].DecoderRowType);
        var union = vectors.SelectMany(v => v.Index.ToArray()).Distinct().Count(); // vectors of one SAE share its rows
        return new(name, "sparse")
        {
            Vectors = vectors,
            ExtraBytes = EncoderBytes(union, width) + DecoderBytes(union, width, rows),
            ExtraProducts = 2L * union * width,
        };
    }

    private static long EncoderBytes(int latents, int width) => sizeof(float) * (long)latents * (width + 2); // rows, bias, threshold

    private static long DecoderBytes(int latents, int width, DecoderRowType rows) => (long)((double)latents * width * rows switch
    {
        DecoderRowType.F32 => 4,
        DecoderRowType.Q8_0 => 34.0 / 32,
        _ => 2,
    });

    private static float[] RandomDirection(int layers, int width)
    {
        var random = new Random(7);
        return [.. Enumerable.Range(0, layers * width).Select(_ => 0.01f * ((2 * random.NextSingle()) - 1))];
    }
}

using YaPO.Llama.Cli.Terminal;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Cli.Commands;

/// <summary>What the commands that write a vector say about it.</summary>
internal static class VectorWritten
{
    public static void Report(CommandConsole console, string output, SteeringFile file, bool json)
    {
        var bytes = new FileInfo(output).Length;
        if (json)
        {
            console.WriteJson(new
            {
                Output = output,
                Bytes = bytes,
                Sha256 = SteeringFile.Sha256(output),
                file.DModel,
                Vectors = file.Vectors.Select(v => new { v.Name, v.Layer, Kind = v.Kind == VectorKind.Sparse ? "sparse" : "dense", v.K, v.NegativeMass }),
            });
            return;
        }

        foreach (var v in file.Vectors)
        {
            var support = v.Kind == VectorKind.Sparse ? $"{v.K} of {v.Sae!.Width} features, negative mass {Sizes.Real(100 * v.NegativeMass)} %" : "dense";
            console.Out.WriteLine($"{v.Name}: layer {v.Layer}, {support}");
        }

        console.Out.WriteLine($"wrote {output}, {Sizes.Text(bytes)}");
    }
}

using YaPO.Llama.Numpy;
using YaPO.Llama.Sae;
using YaPO.Llama.Tests.Tensors;
using YaPO.Llama.Tests.Python;

namespace YaPO.Llama.Tests.Sae;

/// <summary>
/// Small SAEs written by Python, with what PyTorch's arithmetic in each format's original order makes of some rows (see Golden/make_golden.py): a second oracle, by
/// another hand and in another language.
/// </summary>
public sealed class SaeGoldenTests : IDisposable
{
    private static readonly string Committed = Path.Combine(AppContext.BaseDirectory, "Sae", "Golden");

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Formats => ["SAE-Res-Qwen3-2B-W1K-L0_5", "saelens-gated", "saelens-topk", "layers.3", "llama-scope", "openmoss", "gemma-scope-2"];

    [Theory]
    [MemberData(nameof(Formats))]
    public void Committed_Download_GivesTheCodesOfPyTorch(string format) => Check(Path.Combine(Committed, format));

    [PythonFact(torch: true)]
    public void Written_Now_GivesTheCodesOfPyTorch()
    {
        PythonFactAttribute.Run(torch: true, Path.Combine(Committed, "make_golden.py"), _folder.Path, "20261121");

        foreach (var format in Formats)
        {
            Check(_folder.File((string)format));
        }
    }

    private void Check(string folder)
    {
        var output = _folder.File("sae.gguf");
        SaeConverter.Convert(new SaeConvertOptions(folder, output)).Layer.Should().Be(3);
        using var sae = SaeFile.Open(output);
        using var codes = NpzReader.Open(Path.Combine(folder, "codes.npz"));
        float[] h = codes.Read("h"), z = codes.Read("z"), reconstruction = codes.Read("reconstruction");
        var (d, f) = (sae.Info.DModel, sae.Info.Width);
        for (var t = 0; t < h.Length / d; t++)
        {
            var found = PublishedSae.RunTime(sae, [.. h.Skip(t * d).Take(d)]);
            found.Z.Select(x => x > 0).Should().Equal(z.Skip(t * f).Take(f).Select(x => x > 0), "the same features fire in {0}, row {1}", folder, t);
            found.Z.Zip(z.Skip(t * f)).Max(p => Math.Abs(p.First - p.Second)).Should().BeLessThan(1e-5 * (1 + z.Max()));
            found.Reconstruction.Zip(reconstruction.Skip(t * d)).Max(p => Math.Abs(p.First - p.Second)).Should().BeLessThan(1e-5 * (1 + reconstruction.Max()));
        }

        z.Count(x => x > 0).Should().BeInRange(h.Length / d, z.Length * 9 / 10);
    }
}

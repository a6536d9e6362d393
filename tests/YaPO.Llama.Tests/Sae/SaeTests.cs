using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Numpy;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Numpy;

namespace YaPO.Llama.Tests.Sae;

public sealed class SaeTests : IDisposable
{
    private const int D = 8;
    private const int F = 24;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static ModelIdentity Model(int d = D, int layers = 26) => new("fp", "gemma2", "demo", "Q8_0", d, layers, "", 1);

    private string Convert(string golden, Func<SaeConvertOptions, SaeConvertOptions>? with = null, string folder = "google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_2.5")
    {
        var target = Directory.CreateDirectory(_folder.File(folder)).FullName;
        File.Copy(NumpyTests.Golden(golden), Path.Combine(target, "params.npz"), overwrite: true);
        var options = new SaeConvertOptions(target, _folder.File("sae.gguf"));
        SaeConverter.Convert(with?.Invoke(options) ?? options);
        return options.Output;
    }

    private static float[] Array(string file, string name)
    {
        using var npz = NpzReader.Open(NumpyTests.Golden(file));
        return npz.Read(name);
    }

    [Theory]
    [InlineData("sae.npz")]
    [InlineData("sae_deflate.npz")] // in Fortran order too
    public void Convert_GemmaScope_KeepsEveryWeight(string golden)
    {
        using var sae = SaeFile.Open(Convert(golden));

        var encoder = Array(golden, "W_enc"); // [D, F]
        sae.ReadEncoder().Should().Equal(Enumerable.Range(0, F * D).Select(i => encoder[(i % D * F) + (i / D)]));
        sae.ReadDecoder().Should().Equal(Array(golden, "W_dec"));
        sae.EncBias.Should().Equal(Array(golden, "b_enc"));
        sae.DecBias.Should().Equal(Array(golden, "b_dec"));
        sae.Threshold.Should().Equal(Array(golden, "threshold"));
        var row = new float[2 * D];
        sae.ReadEncoder(5, row);
        row.Should().Equal(sae.ReadEncoder()[(5 * D)..(7 * D)]);
        Directory.GetFiles(_folder.Path).Should().ContainSingle("no temporary file stays");
    }

    [Fact]
    public void Convert_GemmaScope_RecordsWhatThePathSays()
    {
        using var sae = SaeFile.Open(Convert("sae.npz"));

        sae.Info.Should().BeEquivalentTo(new
        {
            Layer = 12, DModel = D, Width = F, Site = "res", Activation = SaeActivation.JumpRelu, AverageL0 = 2.5f, License = "cc-by-4.0",
            Name = "gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_2.5",
            Source = "huggingface:google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_2.5/params.npz",
        });
        sae.Info.Base.Name.Should().Be("gemma-2-2b");
        sae.Identity.Should().Be(SteeringFile.Sha256(NumpyTests.Golden("sae.npz")));
        sae.Info.Conversion.Should().NotBeEmpty();
    }

    [Fact]
    public void Convert_Twice_GivesTheSameBytes()
    {
        var first = File.ReadAllBytes(Convert("sae.npz"));
        File.ReadAllBytes(Convert("sae.npz")).Should().Equal(first);
    }

    [Fact]
    public void Convert_F16Decoder_KeepsTheEncoderAndTheIdentity()
    {
        using var sae = SaeFile.Open(Convert("sae.npz", o => o with { DecType = GgmlType.F16 }));

        (sae.EncType, sae.DecType).Should().Be((GgmlType.F32, GgmlType.F16));
        sae.Identity.Should().Be(SteeringFile.Sha256(NumpyTests.Golden("sae.npz")));
        sae.ReadDecoder().Zip(Array("sae.npz", "W_dec")).Max(p => Math.Abs(p.First - p.Second)).Should().BeInRange(1e-7f, 4f / 2048);
    }

    [Fact]
    public void Convert_WhatDoesNotFit_IsRefusedAndLeavesNothing()
    {
        Check(() => Convert("sae.npz", folder: "plain"), YapoErrorKind.InvalidArgument, "*give --layer*");
        Check(() => Convert("sae.npz", o => o with { Layer = 3 }), YapoErrorKind.Mismatch, "*say layer 12, --layer says 3*");
        Check(() => Convert("sae.npz", o => o with { Model = Model(d: 16) }), YapoErrorKind.Mismatch, "*d_model 8; the model demo has 16*");
        Check(() => Convert("sae.npz", o => o with { Model = Model(layers: 12) }), YapoErrorKind.Mismatch, "*layer 12 is out of range*0 … 11*");
        Check(() => Convert("sae.npz", o => o with { DecType = GgmlType.Q8_0 }), YapoErrorKind.InvalidArgument, "*multiple of 32*");
        Check(() => Convert("sae.npz", folder: "gemma-scope-2b-pt-mlp/layer_1"), YapoErrorKind.Unsupported, "*cannot steer (mlp)*adds to the residual stream*");
        Check(() => Convert("stored.npz"), YapoErrorKind.Unsupported, "*no SAE format that is known (gemma-scope, *it holds first, second*config file*");
        Check(() => Convert("sae.npz", folder: "gemma-scope-2b-pt-res/embedding/width_4k"), YapoErrorKind.Unsupported, "*(embedding)*no block outputs*");
        Check(() => Convert("stored.npz", o => o with { Format = "gemma-scope" }), YapoErrorKind.Format, "*no array 'W_enc', but first, second*");
        Check(() => Convert("sae.npz", o => o with { TopK = 3 }), YapoErrorKind.InvalidArgument, "*--top-k is for TopK SAEs*jumprelu*");
        Check(() => Convert("sae.npz", o => o with { InputScale = 3 }), YapoErrorKind.InvalidArgument, "*--input-scale*");
        Check(() => SaeConverter.Convert(new SaeConvertOptions(_folder.File("none"), "x")), YapoErrorKind.Io, "*none*");
        File.Exists(_folder.File("sae.gguf")).Should().BeFalse();

        static void Check(Action action, YapoErrorKind kind, string message) => action.Should().Throw<YapoException>().Where(e => e.Kind == kind).WithMessage(message);
    }

    [Fact]
    public void Convert_Cancelled_LeavesNothing()
    {
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        var input = NumpyTests.Golden("sae.npz");

        FluentActions.Invoking(() => SaeConverter.Convert(new SaeConvertOptions(input, _folder.File("sae.gguf")) { Layer = 1 }, stop.Token))
            .Should().Throw<OperationCanceledException>();
        Directory.GetFiles(_folder.Path).Should().BeEmpty();
    }

    [Theory]
    [InlineData("/cache/models--google--gemma-scope-9b-it-res/snapshots/x/layer_31/width_131k/average_l0_63/params.npz", "gemma-2-9b-it", 31, "131k", 63f)]
    [InlineData(@"C:\google\gemma-scope-27b-pt-res\layer_10\width_1m\average_l0_107\params.npz", "gemma-2-27b", 10, "1m", 107f)]
    [InlineData("params.npz", "", null, "", null)]
    public void ParsePath_ReadsTheFolders(string path, string baseName, int? layer, string width, float? l0)
    {
        var parsed = GemmaScopePath.Parse(path);

        (parsed.BaseName, parsed.Layer, parsed.Width, parsed.AverageL0).Should().Be((baseName, layer, width, l0));
    }

    [Fact]
    public void VectorBuilder_FromFeatures_CopiesRowsInAscendingOrder()
    {
        using var sae = SaeFile.Open(Convert("sae.npz", o => o with { Model = Model() }));

        var vector = VectorBuilder.FromFeatures(sae, [FeatureSpec.Parse("17:+4"), FeatureSpec.Parse("3:-1.5")], "two");

        vector.Index.Should().Equal(3, 17);
        vector.Value.Should().Equal(-1.5f, 4);
        vector.Enc.Should().Equal([.. sae.ReadEncoder()[(3 * D)..(4 * D)], .. sae.ReadEncoder()[(17 * D)..(18 * D)]]);
        vector.Dec.Should().Equal([.. sae.ReadDecoder()[(3 * D)..(4 * D)], .. sae.ReadDecoder()[(17 * D)..(18 * D)]]);
        (vector.Layer, vector.Sae!.Width, vector.Sae.Sha256, vector.Sae.License).Should().Be((12, F, sae.Identity, "cc-by-4.0"));
        vector.SaeId.Should().NotBe(0);
        new SteeringFile { DModel = D, Base = sae.Info.Base, Vectors = [vector] }.Save(_folder.File("two.ysv"));
        SteeringFile.Load(_folder.File("two.ysv")).Vectors[0].Dec.Should().Equal(vector.Dec);
    }

    [Fact]
    public void VectorBuilder_TimesMax_NeedsRecordedMaxima()
    {
        var path = _folder.File("max.gguf");
        var info = new SaeInfo { Layer = 1, DModel = 2, Width = 3, Activation = SaeActivation.Relu };
        SaeWriter.Save(path, info, new SaeWeights(new float[6], new float[3], new float[3], new float[6], new float[2], Max: new float[] { 5, 0, 7 }), labels: ["a", "b", "c"]);
        using var sae = SaeFile.Open(path);

        var vector = VectorBuilder.FromFeatures(sae, [FeatureSpec.Parse("2:2xmax")], "x");
        vector.Value.Should().Equal(14);
        vector.Labels.Should().Equal("c");
        sae.Identity.Should().Be(SteeringFile.Sha256(path), "an SAE trained here is identified by its file");
        FluentActions.Invoking(() => VectorBuilder.FromFeatures(sae, [FeatureSpec.Parse("1:2xmax")], "x")).Should().Throw<YapoException>().WithMessage("*largest activation of feature 1 is not known*");
        FluentActions.Invoking(() => VectorBuilder.FromFeatures(sae, [FeatureSpec.Parse("3:1")], "x")).Should().Throw<YapoException>().WithMessage("*feature 3 is out of range: *max.gguf has features 0 … 2");
        FluentActions.Invoking(() => VectorBuilder.FromFeatures(sae, [FeatureSpec.Parse("1:1"), FeatureSpec.Parse("1:2")], "x")).Should().Throw<YapoException>().WithMessage("*feature 1*given twice*");
    }

    [Fact]
    public void Import_SparseArray_KeepsNonZeroEntries()
    {
        using var sae = SaeFile.Open(Convert("sae.npz"));
        var values = new float[F];
        (values[2], values[20]) = (1.5f, -2);

        VectorBuilder.FromWidth(sae, values, "x").Index.Should().Equal(2, 20);
        VectorImport.Sparse(SaveNpy(values), sae, "x").Value.Should().Equal(1.5f, -2);
        VectorImport.Dense(SaveNpy([1, 2, 3]), 4, "x").Should().BeEquivalentTo(new { Layer = 4, Kind = VectorKind.Dense, Value = new float[] { 1, 2, 3 } });
        VectorImport.ReadArray(NumpyTests.Golden("stored.npz"), "second").Should().Equal(7, 8);
        FluentActions.Invoking(() => VectorImport.ReadArray(NumpyTests.Golden("stored.npz"))).Should().Throw<YapoException>().WithMessage("*holds 2 arrays (first, second)*");
        FluentActions.Invoking(() => VectorImport.ReadArray(NumpyTests.Golden("f4_c.npy"))).Should().Throw<YapoException>().WithMessage("*shape (2, 3)*one dimension*");
        FluentActions.Invoking(() => VectorImport.Sparse(SaveNpy([1, 2]), sae, "x")).Should().Throw<YapoException>().Where(e => e.Kind == YapoErrorKind.Mismatch).WithMessage("*2 entries*24 features*");
        FluentActions.Invoking(() => VectorImport.Sparse(SaveNpy(new float[F]), sae, "x")).Should().Throw<YapoException>().WithMessage("*zero*");
        values[3] = float.NaN;
        FluentActions.Invoking(() => VectorImport.Sparse(SaveNpy(values), sae, "x")).Should().Throw<YapoException>().WithMessage("*entry 3*");
    }

    [Fact]
    public void Open_WrongFiles_SayWhatTheyAre()
    {
        SampleVectorsFile();
        FluentActions.Invoking(() => SaeFile.Open(_folder.File("v.ysv"))).Should().Throw<YapoException>().WithMessage("*'yapo-steering', expected 'yapo-sae'*steering vector*");
        FluentActions.Invoking(() => SteeringFile.Load(Convert("sae.npz"))).Should().Throw<YapoException>().WithMessage("*'yapo-sae'*vector new*");
        var nan = new float[6];
        nan[4] = float.NaN;
        FluentActions.Invoking(() => SaeWriter.Save(_folder.File("x"), new SaeInfo { Layer = 1, DModel = 2, Width = 3 }, new SaeWeights(nan, new float[3], new float[3], new float[6], new float[2])))
            .Should().Throw<YapoException>().WithMessage("*enc[4] is NaN*");

        void SampleVectorsFile() => Steering.SampleVectors.File(Steering.SampleVectors.Dense()).Save(_folder.File("v.ysv"));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Fit_GivenNumPysCodes_AgreesWithThem(int threads)
    {
        using var sae = SaeFile.Open(Convert("sae.npz"));
        float[] h = Array("sae_codes.npz", "h"), z = Array("sae_codes.npz", "z"), reconstruction = Array("sae_codes.npz", "reconstruction");

        var report = SaeFit.Measure(sae, h, threads: threads);

        report.Tokens.Should().Be(5);
        report.L0.Should().BeApproximately(z.Count(x => x > 0) / 5.0, 1e-12);
        report.Silent.Should().Be(Enumerable.Range(0, F).Count(j => Enumerable.Range(0, 5).All(t => z[(t * F) + j] == 0)));
        report.Max.Zip(Enumerable.Range(0, F).Select(j => Enumerable.Range(0, 5).Max(t => z[(t * F) + j]))).Should().OnlyContain(p => Math.Abs(p.First - p.Second) < 1e-5f);
        var mean = Enumerable.Range(0, D).Select(i => Enumerable.Range(0, 5).Average(t => (double)h[(t * D) + i])).ToArray();
        var variance = h.Select((x, i) => Math.Pow(x - mean[i % D], 2)).Sum();
        var error = h.Zip(reconstruction).Sum(p => Math.Pow(p.First - (double)p.Second, 2));
        report.ExplainedVariance.Should().BeApproximately(1 - (error / variance), 1e-5);
        report.PublishedL0.Should().Be(2.5);
    }

    [Theory]
    [InlineData(SaeRowNorms.DefaultRows)]
    [InlineData(6)] // every fourth
    public void RowNorms_GivenNumPysWeights_AreTheirOrderStatistics(int rows)
    {
        using var sae = SaeFile.Open(Convert("sae.npz"));
        var decoder = Array("sae.npz", "W_dec");
        var expected = decoder.Chunk(D).Where((_, j) => rows > F || j % 4 == 0).Select(row => Math.Sqrt(row.Sum(x => (double)x * x))).Order().ToArray();

        var (_, norms) = SaeRowNorms.Measure(sae, rows);

        norms.Should().Be(new RowNorms(expected.Length, expected[0], expected[rows > F ? 2 : 0], expected[rows > F ? 11 : 2], expected[rows > F ? 21 : 5], expected[^1], 0));
    }

    [Fact]
    public void Judge_WrongLayerOrDensity_SaysSo()
    {
        var good = new SaeFitReport(12, 100, 0.8, 0.2, 70, 82, 100, 0, [], []);

        SaeFit.Judge(good).Verdict.Should().Be(SaeFitVerdict.Good);
        SaeFit.Judge(good, good with { Layer = 11, ExplainedVariance = 0.75 }).Verdict.Should().Be(SaeFitVerdict.Good);
        SaeFit.Judge(good with { ExplainedVariance = 0.3 }).Verdict.Should().Be(SaeFitVerdict.Doubtful);
        SaeFit.Judge(good with { ExplainedVariance = -2 }).Verdict.Should().Be(SaeFitVerdict.Bad);
        SaeFit.Judge(good with { ExplainedVariance = double.NaN }).Verdict.Should().Be(SaeFitVerdict.Bad);
        SaeFit.Judge(good with { L0 = 400 }).Reasons.Should().ContainMatch("400 features*report 82");
        var (verdict, reasons) = SaeFit.Judge(good, good with { Layer = 13, ExplainedVariance = 0.85 });
        verdict.Should().Be(SaeFitVerdict.Bad);
        reasons.Should().ContainMatch("layer 13 fits better*");
    }

    [Fact]
    public void Fit_WrongWidth_IsRefused()
    {
        using var sae = SaeFile.Open(Convert("sae.npz"));

        FluentActions.Invoking(() => SaeFit.Measure(sae, new float[D + 1])).Should().Throw<YapoException>().Which.Kind.Should().Be(YapoErrorKind.Mismatch);
    }

    private string SaveNpy(float[] values)
    {
        var header = $"{{'descr': '<f4', 'fortran_order': False, 'shape': ({values.Length},), }}".PadRight(117) + "\n";
        return _folder.Write("v.npy", [0x93, .. "NUMPY"u8, 1, 0, (byte)header.Length, 0, .. System.Text.Encoding.ASCII.GetBytes(header), .. values.SelectMany(BitConverter.GetBytes)]);
    }
}

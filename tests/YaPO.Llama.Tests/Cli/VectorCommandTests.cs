using System.Text.Json;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;

namespace YaPO.Llama.Tests.Cli;

/// <summary>vector, sae and model commands; none of them decodes.</summary>
public sealed class VectorCommandTests(CliWorld world) : IClassFixture<CliWorld>
{
    [Fact]
    public async Task VectorNew_FromFeatures_WritesWhatWasAskedFor()
    {
        var output = world.In("new é.ysv");

        var run = await CliRun.Of(
            "vector", "new", "--sae", world.Sae, "--feature", "40:+2.5", "--feature", "3:-1", "--strength", "1.5", "--positions", "generated", "--positive-means", "more of it", "--output", output);

        run.ExitCode.Should().Be(0, run.Error);
        run.Out.Should().Contain("2 of 96 features").And.Contain(output);
        var file = SteeringFile.Load(output);
        file.Base.Fingerprint.Should().Be(ModelFingerprint.Compute(world.Model).Fingerprint);
        var vector = file.Vectors.Should().ContainSingle().Subject;
        vector.Index.Should().Equal(3, 40);
        vector.Value.Should().Equal(-1f, 2.5f);
        vector.Layer.Should().Be(CliWorld.Layer);
        vector.RecommendedStrength.Should().Be(1.5f);
        vector.Positions.ToString().Should().Be("generated");
        vector.PositiveMeans.Should().Be("more of it");
    }

    [Fact]
    public async Task VectorInfo_Json_IsOneDocumentWithTheNumbers()
    {
        var run = await CliRun.Of("vector", "info", world.Vector, "--json", "--top", "2");

        run.ExitCode.Should().Be(0, run.Error);
        var root = JsonDocument.Parse(run.Out).RootElement;
        root.GetProperty("d_model").GetInt32().Should().Be(64);
        root.GetProperty("base").GetProperty("fingerprint").GetString().Should().Be(ModelFingerprint.Compute(world.Model).Fingerprint);
        var vector = root.GetProperty("vectors")[0];
        vector.GetProperty("k").GetInt32().Should().Be(3);
        vector.GetProperty("negative_mass").GetDouble().Should().BeApproximately(8.0 / 19, 1e-6);
        vector.GetProperty("features").EnumerateArray().Select(f => f.GetProperty("index").GetInt32()).Should().Equal(17, 3);
    }

    [Fact]
    public async Task VectorInfo_Text_ShowsBaseAndFeatures()
    {
        var run = await CliRun.Of("vector", "info", world.Vector);

        run.Out.Should().Contain("random gemma2").And.Contain("3 of 96").And.Contain("-8").And.Contain("‖v‖ 11.1803").And.Contain("‖flattened‖").And.Contain("random sae");
    }

    [Fact]
    public async Task VectorImport_DenseArray_RoundTrips()
    {
        var values = Enumerable.Range(0, 64).Select(i => (float)Math.Sin(i)).ToArray();
        var input = world.In("dense.npy");
        File.WriteAllBytes(input, Npy(values));
        var output = world.In("imported.ysv");

        var run = await CliRun.Of("vector", "import", "--input", input, "--dense", "--layer", "2", "--model", world.Model, "--output", output);

        run.ExitCode.Should().Be(0, run.Error);
        var vector = SteeringFile.Load(output).Vectors.Should().ContainSingle().Subject;
        vector.Layer.Should().Be(2);
        vector.Value.Should().Equal(values);
    }

    [Fact]
    public async Task VectorImport_FullWidthArray_KeepsItsNonZeroEntries()
    {
        var values = new float[CliWorld.Features];
        (values[7], values[90]) = (1.5f, -2f);
        var input = world.In("sparse.npy");
        File.WriteAllBytes(input, Npy(values));
        var output = world.In("imported-sparse.ysv");

        var run = await CliRun.Of("vector", "import", "--input", input, "--sae", world.Sae, "--model", world.Model, "--output", output, "--type", "f16");

        run.ExitCode.Should().Be(0, run.Error);
        var vector = SteeringFile.Load(output).Vectors.Should().ContainSingle().Subject;
        vector.Index.Should().Equal(7, 90);
        vector.DecType.Should().Be(GgmlType.F16);
    }

    [Fact]
    public async Task VectorImport_ControlVector_KeepsItsLayers()
    {
        var input = world.In("control.gguf");
        new GgufWriter().Set("general.architecture", "controlvector").Set("controlvector.model_hint", "gemma2")
            .AddTensor("direction.1", GgmlType.F32, [64], new float[64].Select((_, i) => (float)i).ToArray())
            .AddTensor("direction.2", GgmlType.F32, [64], new float[64].Select((_, i) => -(float)i).ToArray())
            .Save(input);
        var output = world.In("control.ysv");

        var run = await CliRun.Of("vector", "import", "--input", input, "--model", world.Model, "--output", output);

        run.ExitCode.Should().Be(0, run.Error);
        SteeringFile.Load(output).Vectors.Select(v => (v.Layer, v.Positions.ToString())).Should().Equal((1, "all+bos"), (2, "all+bos"));
        (await CliRun.Of("vector", "import", "--input", input, "--model", world.Model, "--output", output, "--positions", "generated")).ExitCode.Should().Be(0);
        SteeringFile.Load(output).Vectors[0].Positions.ToString().Should().Be("generated");
    }

    [Fact]
    public async Task VectorImport_ArrayWithNaN_IsRefusedAndNothingIsWritten()
    {
        var values = new float[64];
        values[9] = float.NaN;
        File.WriteAllBytes(world.In("nan.npy"), Npy(values));
        var before = world.Files();

        var run = await CliRun.Of("vector", "import", "--input", world.In("nan.npy"), "--dense", "--layer", "1", "--model", world.Model, "--output", world.In("nan.ysv"));

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("[9]").And.Contain("finite");
        world.Files().Should().Equal(before);
    }

    [Theory]
    [InlineData("--layer 1", 2, "--sae")]
    [InlineData("--dense", 2, "--layer")]
    [InlineData("--dense --layer 3", 3, "layers 0 to 2")]
    [InlineData("--dense --layer -1", 2, "out of range")]
    [InlineData("--dense --sae sae.gguf --layer 1", 2, "exclude")]
    public async Task VectorImport_BadArguments_SayWhatIsNeeded(string arguments, int code, string expected)
    {
        File.WriteAllBytes(world.In("plain.npy"), Npy([.. Enumerable.Repeat(1f, 64)]));

        var run = await CliRun.Of(["vector", "import", "--input", world.In("plain.npy"), "--model", world.Model, "--output", world.In("never.ysv"), .. arguments.Split(' ')]);

        run.ExitCode.Should().Be(code, run.Error);
        run.Error.Should().Contain(expected);
        File.Exists(world.In("never.ysv")).Should().BeFalse();
    }

    [Theory]
    [InlineData("3", "no feature")]
    [InlineData("3:+x", "no feature")]
    [InlineData("96:+1", "out of range")]
    [InlineData("3:2xmax", "not known")]
    public async Task VectorNew_BadFeature_IsWrongUsage(string feature, string expected)
    {
        var run = await CliRun.Of("vector", "new", "--sae", world.Sae, "--feature", feature, "--output", world.In("never.ysv"));

        run.ExitCode.Should().Be(2);
        run.Error.Should().Contain(expected);
    }

    [Fact]
    public async Task VectorNew_UnwritableOutput_IsRefusedBeforeTheSaeIsRead()
    {
        var run = await CliRun.Of("vector", "new", "--sae", world.In("missing.gguf"), "--feature", "1:+1", "--output", "/no/such/folder/v.ysv");

        run.ExitCode.Should().Be(1);
        run.Error.Should().Contain("/no/such/folder");
    }

    [Fact]
    public async Task SaeInfo_Json_TellsShapeAndBase()
    {
        var run = await CliRun.Of("sae", "info", world.Sae, "--json");

        var root = JsonDocument.Parse(run.Out).RootElement;
        root.GetProperty("width").GetInt32().Should().Be(CliWorld.Features);
        root.GetProperty("layer").GetInt32().Should().Be(CliWorld.Layer);
        (await CliRun.Of("sae", "info", world.Sae)).Out.Should().Contain("96 features").And.Contain("random sae");
    }

    [Theory]
    [InlineData("vector info missing.ysv")]
    [InlineData("sae info missing.gguf")]
    [InlineData("model info missing.gguf")]
    [InlineData("model fingerprint missing.gguf")]
    [InlineData("sae convert --input missing.npz --output out.gguf")]
    [InlineData("model quantize --input missing.gguf --output out.gguf")]
    public async Task AnyCommand_MissingInput_ExitsWithBadInputAndNamesIt(string line)
    {
        var run = await CliRun.Of(line.Split(' '));

        run.ExitCode.Should().Be(3);
        run.Error.Should().StartWith("error:").And.Contain("missing");
        run.Out.Should().BeEmpty();
    }

    [Fact]
    public async Task VectorInfo_AnSae_SaysWhatItIs()
    {
        var run = await CliRun.Of("vector", "info", world.Sae);

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("it is an SAE");
    }

    [Fact]
    public async Task VectorInfo_TruncatedFile_ExitsWithBadInput()
    {
        var bytes = File.ReadAllBytes(world.Vector);
        File.WriteAllBytes(world.In("cut.ysv"), bytes[..(bytes.Length / 2)]);

        var run = await CliRun.Of("vector", "info", world.In("cut.ysv"));

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("cut.ysv");
    }

    [Fact]
    public async Task ModelFingerprint_TwoFiles_AreToldApart()
    {
        var run = await CliRun.Of("model", "fingerprint", world.Model, world.OtherModel);

        var lines = run.Out.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        lines.Should().HaveCount(2);
        lines[0].Should().Be($"{ModelFingerprint.Compute(world.Model).Fingerprint}  {world.Model}");
        lines[1].Should().NotStartWith(lines[0][..64]);
    }

    /// <summary>A little-endian F32 vector in .npy version 1.</summary>
    private static byte[] Npy(float[] values)
    {
        var header = $"{{'descr': '<f4', 'fortran_order': False, 'shape': ({values.Length},), }}";
        header = header.PadRight(118 - 1) + "\n";
        using var stream = new MemoryStream();
        stream.Write([0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y', 1, 0, 118, 0]);
        stream.Write(System.Text.Encoding.ASCII.GetBytes(header));
        stream.Write(System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()));
        return stream.ToArray();
    }
}

using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using YaPO.Llama.Sae;
using YaPO.Llama.Tests.Sae;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Tests.Tensors;

namespace YaPO.Llama.Tests.Cli;

/// <summary>sae convert and sae info with the fit check, on a made-up Gemma Scope file for a random model.</summary>
public sealed class SaeCommandTests(CliWorld world) : NativeTest, IClassFixture<CliWorld>
{
    private const int Width = 64;

    [Fact]
    public async Task SaeConvert_GemmaScopeFolder_WritesAnSaeAndChecksItsFit()
    {
        var output = world.In("converted.gguf");

        var run = await CliRun.Of("sae", "convert", "--input", GemmaScope(layer: 1), "--output", output, "--model", world.Model, "--json", "--threads", "1");

        // Twice an identity: relu(h) and relu(-h) rebuild h exactly at whatever layer, so the fit is perfect and no neighbour fits better.
        run.ExitCode.Should().Be(0, run.Error + run.Out);
        var root = JsonDocument.Parse(run.Out).RootElement;
        root.GetProperty("layer").GetInt32().Should().Be(1);
        root.GetProperty("width").GetInt32().Should().Be(2 * Width);
        var fit = root.GetProperty("fit");
        fit.GetProperty("explained_variance").GetDouble().Should().BeApproximately(1, 1e-6);
        fit.GetProperty("l0").GetDouble().Should().BeApproximately(Width, 1e-6);
        fit.GetProperty("published_l0").GetDouble().Should().Be(64);
        fit.GetProperty("neighbours").GetArrayLength().Should().Be(2);
        using var sae = SaeFile.Open(output);
        sae.Info.Base.Name.Should().Be("random gemma2");
    }

    [Fact]
    public async Task SaeInfo_UnrelatedSae_IsCalledBadAndExitsWithBadInput()
    {
        var run = await CliRun.Of("sae", "info", world.Sae, "--model", world.Model, "--threads", "1");

        run.ExitCode.Should().Be(3);
        run.Out.Should().Contain("fit").And.Contain("bad").And.Contain("explained variance");
    }

    [Theory]
    [InlineData("--layer", "2", "layer 1")]
    [InlineData("--type", "q4_0", "f32, f16, q8_0")]
    public async Task SaeConvert_BadArguments_WriteNothing(string option, string value, string expected)
    {
        var before = world.Files();

        var run = await CliRun.Of("sae", "convert", "--input", GemmaScope(layer: 1), "--output", world.In("never.gguf"), option, value);

        run.ExitCode.Should().BeOneOf(2, 3);
        run.Error.Should().Contain(expected);
        world.Files().Should().Equal(before);
    }

    [Fact]
    public async Task SaeConvert_ForAnotherWidth_SaysExpectedAndFound()
    {
        var model = world.In("wide.gguf");
        RandomModel.WriteTo(model, new RandomModel.Settings { Width = 128, Seed = 21 });

        var run = await CliRun.Of("sae", "convert", "--input", GemmaScope(layer: 1), "--output", world.In("never.gguf"), "--model", model);

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("d_model 64").And.Contain("128");
        File.Exists(world.In("never.gguf")).Should().BeFalse();
    }

    [Fact]
    public async Task SaeConvert_NotAnSae_SaysWhatIsExpected()
    {
        var run = await CliRun.Of("sae", "convert", "--input", world.Write("params.safetensors", "x"), "--output", world.In("never.gguf"));

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("safetensors");
    }

    [Fact]
    public async Task SaeEval_PairsAndText_GivesLossesAndShares()
    {
        var pairs = world.Write("eval.jsonl", """
            {"prompt": "what is the user", "chosen": "the user is the model", "rejected": "no"}
            {"messages": [{"role": "user", "content": "what"}, {"role": "assistant", "content": "the old bridge"}]}
            {"text": "what is eaten by the model"}
            """);

        var run = await CliRun.Of("sae", "eval", "--model", world.Model, "--sae", world.Sae, "--data", pairs, "--threads", "1", "--json");

        run.ExitCode.Should().Be(0, run.Error);
        var root = JsonDocument.Parse(run.Out).RootElement;
        root.GetProperty("tokens").GetInt64().Should().BeGreaterThan(20);
        foreach (var name in new[] { "l0", "loss", "loss_reconstructed", "loss_zero", "loss_mean", "explained_variance", "loss_recovered_zero", "loss_recovered_mean" })
        {
            double.IsFinite(root.GetProperty(name).GetDouble()).Should().BeTrue(name);
        }

        var text = CliProcess.Run(world.Folder, "", "sae", "eval", "--model", world.Model, "--sae", world.Sae, "--data", world.Write("eval.txt", "what is the user\n\nthe model\n"), "--threads", "1");
        text.ExitCode.Should().Be(0, text.Error);
        text.Out.Should().Contain("explained variance").And.Contain("nats per token").And.NotContain("\u001b");
    }

    [Fact]
    public async Task SaeEval_Misfits_ExitWithBadInput()
    {
        var wide = world.In("eval-wide.gguf");
        RandomModel.WriteTo(wide, new RandomModel.Settings { Width = 128, Seed = 22 });
        var deep = RandomSae.Save(world.In("eval-deep.gguf"), Width, 40, layer: 7);
        var text = world.Write("eval-short.txt", "what is it");

        foreach (var (model, sae, data, expected) in new[]
        {
            (wide, world.Sae, text, "d_model 64"),
            (world.Model, deep, text, "layer 7"),
            (world.Model, world.Sae, world.Write("eval-bad.jsonl", "{\"text\": \"a b\"}\n{\"text\": 5}\n"), "line 2"),
            (world.Model, world.Sae, world.Write("eval-empty.txt", "\n\n"), "no text"),
            (world.Model, world.Vector, text, "steering vector"),
            (world.Model, world.Sae, world.In("no-such.txt"), "no-such.txt"),
        })
        {
            var run = await CliRun.Of("sae", "eval", "--model", model, "--sae", sae, "--data", data, "--threads", "1");
            run.ExitCode.Should().Be(3, expected);
            run.Error.Should().Contain(expected);
        }
    }

    [Fact]
    public async Task SaeConvert_PickledTopK_IsWrittenAndCheckedOnTheModel()
    {
        var sae = new PublishedSae(3);
        var input = world.In("qwen.pt");
        File.WriteAllBytes(input, TensorWriter.Pt(
            PublishedSae.Matrix("W_enc", "FD", sae.W), PublishedSae.Matrix("W_dec", "DF", sae.Decoder), PublishedSae.Vector("b_enc", sae.EncBias), PublishedSae.Vector("b_dec", sae.DecBias)));
        var model = world.In("narrow.gguf");
        RandomModel.WriteTo(model, new RandomModel.Settings { Width = PublishedSae.D, Heads = 2, Seed = 22 });

        var run = await CliRun.Of("sae", "convert", "--input", input, "--output", world.In("qwen.gguf"), "--top-k", "7", "--layer", "1", "--model", model, "--json");

        run.ExitCode.Should().Be(3, "random weights describe nothing: " + run.Error);
        var root = JsonDocument.Parse(run.Out).RootElement;
        (root.GetProperty("activation").GetString(), root.GetProperty("topk").GetInt32()).Should().Be(("topk", 7));
        root.GetProperty("conversion")[0].GetString().Should().StartWith("qwen-scope:");
        root.GetProperty("fit").GetProperty("verdict").GetString().Should().Be("bad");
        root.GetProperty("fit").GetProperty("l0").GetDouble().Should().BeInRange(1, 7);
    }

    [Fact]
    public async Task SaeConvert_SaeLensWithRates_ShowsDeadFeaturesAndNorms()
    {
        var sae = new PublishedSae(4);
        Array.Clear(sae.Decoder[3]);
        var folder = Directory.CreateDirectory(world.In("lens")).FullName;
        File.WriteAllText(Path.Combine(folder, "cfg.json"), """{"architecture": "standard", "metadata": {"hook_name": "blocks.2.hook_resid_post"}}""");
        File.WriteAllBytes(Path.Combine(folder, "sae_weights.safetensors"), TensorWriter.Safetensors(
            [PublishedSae.Matrix("W_enc", "DF", sae.W), PublishedSae.Matrix("W_dec", "FD", sae.Decoder), PublishedSae.Vector("b_enc", sae.EncBias), PublishedSae.Vector("b_dec", sae.DecBias)]));
        double[] rates = [.. Enumerable.Range(0, PublishedSae.F).Select(j => j < 4 ? -10.0 : -1)];
        File.WriteAllBytes(Path.Combine(folder, "sparsity.safetensors"), TensorWriter.Safetensors([PublishedSae.Vector("sparsity", rates)]));
        (await CliRun.Of("sae", "convert", "--input", folder, "--output", world.In("lens.gguf"))).ExitCode.Should().Be(0);

        var run = await CliRun.Of("sae", "info", world.In("lens.gguf"), "--json");
        var text = await CliRun.Of("sae", "info", world.In("lens.gguf"));

        var root = JsonDocument.Parse(run.Out).RootElement;
        root.GetProperty("dead_features").GetInt32().Should().Be(4);
        root.GetProperty("l0").GetDouble().Should().BeApproximately(3.6, 1e-4);
        root.GetProperty("encoder_norms").GetProperty("median").GetDouble().Should().BeApproximately(sae.W.Select(PublishedSae.Norm).Order().ElementAt((PublishedSae.F / 2) - 1), 1e-4);
        root.GetProperty("decoder_norms").GetProperty("zero").GetInt32().Should().Be(1);
        text.Out.Should().Contain("4 of 40 by their firing rates").And.Contain("1 rows are zero").And.Contain("b_dec is subtracted from the input");
    }

    /// <summary>A folder as Gemma Scope's downloads name it: W_enc = [I, −I], W_dec its transpose, no bias, thresholds 0.</summary>
    private string GemmaScope(int layer)
    {
        var folder = Directory.CreateDirectory(Path.Combine(world.Folder, "gemma-scope-2b-pt-res", $"layer_{layer}", "width_16k", "average_l0_64")).FullName;
        var path = Path.Combine(folder, "params.npz");
        if (File.Exists(path))
        {
            return folder;
        }

        var enc = new float[Width * 2 * Width];
        var dec = new float[2 * Width * Width];
        for (var i = 0; i < Width; i++)
        {
            (enc[(i * 2 * Width) + i], enc[(i * 2 * Width) + Width + i]) = (1, -1);
            (dec[(i * Width) + i], dec[((Width + i) * Width) + i]) = (1, -1);
        }

        using var archive = new ZipArchive(File.Create(path), ZipArchiveMode.Create);
        Add(archive, "W_enc", $"({Width}, {2 * Width})", enc);
        Add(archive, "W_dec", $"({2 * Width}, {Width})", dec);
        Add(archive, "b_enc", $"({2 * Width},)", new float[2 * Width]);
        Add(archive, "b_dec", $"({Width},)", new float[Width]);
        Add(archive, "threshold", $"({2 * Width},)", new float[2 * Width]);
        return folder;
    }

    private static void Add(ZipArchive archive, string name, string shape, float[] values)
    {
        using var stream = archive.CreateEntry(name + ".npy", CompressionLevel.NoCompression).Open();
        stream.Write([0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y', 1, 0, 118, 0]);
        stream.Write(Encoding.ASCII.GetBytes($"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".PadRight(117) + "\n"));
        stream.Write(MemoryMarshal.AsBytes(values.AsSpan()));
    }
}

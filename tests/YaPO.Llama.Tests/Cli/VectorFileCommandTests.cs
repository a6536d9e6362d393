using System.Runtime.InteropServices;
using System.Text.Json;
using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tensors;
using YaPO.Llama.Tests.Sessions;
using YaPO.Llama.Tests.Tensors;

namespace YaPO.Llama.Tests.Cli;

/// <summary>vector combine, verify, diff, prune and export on a random model.</summary>
public sealed class VectorFileCommandTests : NativeTest, IClassFixture<CliWorld>
{
    private readonly CliWorld world;
    private readonly string second;

    public VectorFileCommandTests(CliWorld world)
    {
        this.world = world;
        second = world.In("second.ysv");
        using var sae = SaeFile.Open(world.Sae);
        new SteeringFile
        {
            Name = "second", Base = sae.Info.Base, DModel = 64, Vectors = [VectorBuilder.Sparse(sae, [17, 18], [-3f, 2f], "second") with { PositiveMeans = "second things" }],
        }.Save(second);
    }

    [Fact]
    public async Task Combine_TwoFiles_ScoresLikeAttachingBoth()
    {
        var output = world.In("combined.ysv");
        var input = world.Write("score.jsonl", """{"prompt": "what is the tea", "completion": " in the model"}""");

        var run = await CliRun.Of("vector", "combine", $"{world.Vector}:1.5", $"{second}:-0.5@all", world.Dense, "--output", output, "--json");

        run.ExitCode.Should().Be(0, run.Error);
        var file = SteeringFile.Load(output);
        file.Vectors.Select(v => v.K).Should().Equal(4, 0);
        file.Parents.Should().Equal(SteeringFile.Sha256(world.Vector), SteeringFile.Sha256(second), SteeringFile.Sha256(world.Dense));
        JsonDocument.Parse(run.Out).RootElement.GetProperty("sha256").GetString().Should().Be(SteeringFile.Sha256(output));
        async Task<string> Score(params string[] vectors) =>
            (await CliRun.Of(["score", "--model", world.Model, "--input", input, "--threads", "1", "--json", .. vectors.SelectMany(v => new[] { "--vector", v })])).Out;
        (await Score(output)).Should().Be(await Score($"{world.Vector}:1.5", $"{second}:-0.5", world.Dense)).And.Contain("logprob");
    }

    [Fact]
    public async Task Combine_VectorOfAnotherModel_IsRefusedAndNothingIsWritten()
    {
        new SteeringFile { Name = "other", Base = ModelFingerprint.Compute(world.OtherModel).ToBaseModel(), DModel = 64, Vectors = [VectorBuilder.Dense(new float[64], 1, "other")] }.Save(world.In("other.ysv"));
        var before = world.Files();

        var run = await CliRun.Of("vector", "combine", world.Vector, world.In("other.ysv"), "--output", world.In("never.ysv"));

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("another model").And.Contain("fingerprint").And.Contain("cannot be combined");
        world.Files().Should().Equal(before);
    }

    [Fact]
    public async Task Verify_ItsOwnModelAndSae_Passes()
    {
        var run = await CliRun.Of("vector", "verify", world.Vector, "--model", world.Model, "--sae", world.Sae, "--json");

        run.ExitCode.Should().Be(0, run.Out + run.Error);
        var root = JsonDocument.Parse(run.Out).RootElement;
        root.GetProperty("ok").GetBoolean().Should().BeTrue();
        var names = root.GetProperty("checks").EnumerateArray().ToDictionary(c => c.GetProperty("name").GetString()!, c => c.GetProperty("status").GetString());
        names.Should().Contain("fingerprint", "ok").And.Contain("d_model", "ok").And.Contain("sparse: layer", "ok").And.Contain("sparse: hook", "ok")
            .And.Contain("chat template hash", "ok").And.Contain("sparse: SAE rows", "ok").And.Contain("sparse: SAE identity", "ok").And.Contain("sparse: recommended strength", "ok");
    }

    [Fact]
    public async Task Verify_AnotherModel_ExitsWithBadInputAndATableOfWhatFails()
    {
        var run = await CliRun.Of("vector", "verify", world.Vector, "--model", world.OtherModel);

        run.ExitCode.Should().Be(3);
        run.Out.Should().MatchRegex(@"fingerprint +\| FAILED").And.MatchRegex(@"d_model +\| ok").And.Contain("1 of");
    }

    [Fact]
    public async Task Verify_BeyondTheLastLayer_AlsoFailsAtTheHook()
    {
        new SteeringFile { Name = "deep", DModel = 64, Vectors = [VectorBuilder.Dense([.. Enumerable.Repeat(1f, 64)], 9, "deep")] }.Save(world.In("deep.ysv"));

        var run = await CliRun.Of("vector", "verify", world.In("deep.ysv"), "--model", world.Model);

        run.ExitCode.Should().Be(3);
        run.Out.Should().MatchRegex(@"deep: layer +\| FAILED").And.MatchRegex(@"deep: hook +\| FAILED").And.MatchRegex(@"fingerprint +\| unknown");
    }

    [Fact]
    public async Task Verify_DamagedFile_IsATableOfOneFailure()
    {
        var bytes = File.ReadAllBytes(world.Vector);
        File.WriteAllBytes(world.In("half.ysv"), bytes[..(bytes.Length / 2)]);

        var run = await CliRun.Of("vector", "verify", world.In("half.ysv"), "--model", world.Model);

        run.ExitCode.Should().Be(3);
        run.Out.Should().MatchRegex(@"file +\| FAILED");
    }

    [Fact]
    public async Task Diff_TwoVectorsOfOneSae_ShowsSupportsAndFeatures()
    {
        var run = await CliRun.Of("vector", "diff", world.Vector, second, "--json");

        run.ExitCode.Should().Be(0, run.Error);
        var root = JsonDocument.Parse(run.Out).RootElement;
        root.GetProperty("same_bytes").GetBoolean().Should().BeFalse();
        var pair = root.GetProperty("vectors")[0];
        pair.GetProperty("support").GetProperty("jaccard").GetDouble().Should().Be(0.25);
        pair.GetProperty("cosine").GetProperty("latent").GetDouble().Should().BeApproximately(24 / Math.Sqrt((36 + 64 + 25) * 13.0), 1e-9);
        pair.GetProperty("features")[0].GetProperty("index").GetInt32().Should().Be(3);
        (await CliRun.Of("vector", "diff", world.Vector, second)).Out.Should().Contain("Jaccard 0.25").And.Contain("second things");
        (await CliRun.Of("vector", "diff", world.Vector, world.Vector, "--json")).Out.Should().Contain("\"same_bytes\": true");
    }

    [Fact]
    public async Task Prune_TopK_ReportsWhatIsLostAndSaved()
    {
        var output = world.In("pruned.ysv");

        var run = await CliRun.Of(["vector", "prune", world.Vector, "--top-k", "2", "--output", output, "--json", .. Measured()]);

        run.ExitCode.Should().Be(0, run.Error);
        var root = JsonDocument.Parse(run.Out).RootElement;
        var file = SteeringFile.Load(output);
        file.Parents.Should().Equal(SteeringFile.Sha256(world.Vector));
        file.Evidence.Should().BeEmpty();
        file.Vectors[0].K.Should().Be(2);
        root.GetProperty("vectors")[0].GetProperty("k").GetProperty("before").GetInt32().Should().Be(3);
        root.GetProperty("vectors")[0].GetProperty("ranked_by").GetString().Should().Be("magnitude");
        root.GetProperty("bytes").GetProperty("after").GetInt64().Should().Be(new FileInfo(output).Length).And.BeLessThan(new FileInfo(world.Vector).Length);
        root.GetProperty("measured").GetProperty("kl_per_token").GetDouble().Should().BeGreaterThan(1e-6);
        root.GetProperty("measured").GetProperty("layers")[0].GetProperty("change_lost").GetDouble().Should().BeInRange(0.01, 2);
        (await CliRun.Of("vector", "prune", world.Vector, "--mass", "0.5", "--output", output)).Out.Should().Contain("3 to 2").And.Contain("firing rates are not recorded");
    }

    [Fact]
    public async Task Prune_Kl_KeepsTheFewestWithinTheBudget()
    {
        var output = world.In("pruned-kl.ysv");
        async Task<(int K, double Kl)> Prune(params string[] how)
        {
            var run = await CliRun.Of(["vector", "prune", world.Vector, .. how, "--output", output, "--json", .. Measured()]);
            run.ExitCode.Should().Be(0, run.Error);
            return (SteeringFile.Load(output).Vectors[0].K, JsonDocument.Parse(run.Out).RootElement.GetProperty("measured").GetProperty("kl_per_token").GetDouble());
        }

        (await Prune("--kl", "0")).Should().Be((3, 0));
        var two = await Prune("--top-k", "2");
        (await Prune("--kl", (two.Kl * 1.01).ToString("R", System.Globalization.CultureInfo.InvariantCulture))).Should().Be(two);
        (await Prune("--kl", "1000")).K.Should().Be(1);
    }

    [Fact]
    public async Task Export_ControlVector_WarnsWithMeasuredNumbers_AndSteersLikeTheFlattenedVector()
    {
        var output = world.In("exported.gguf");

        var run = await CliRun.Of(["vector", "export", world.Vector, "--to", "control-vector", "--output", output, .. Measured()]);

        run.ExitCode.Should().Be(0, run.Error);
        run.Error.Should().Contain("42.1 % of its mass turns features down").And.Contain("BOS included");
        run.Out.Should().MatchRegex(@"‖YaPO − flattened‖ is [0-9.]+ % of ‖Δh‖").And.MatchRegex(@"clipped on [0-9.]+ % of tokens").And.MatchRegex("KL [0-9.E-]+ nats");
        SteeringFile.Load(output).Vectors.Should().ContainSingle().Which.Value.Should().Equal(SteeringFile.Load(world.Vector).Vectors[0].Flatten());
        var input = world.Write("score-cv.jsonl", """{"prompt": "what is the tea", "completion": " in the model"}""");
        async Task<string> Score(string vector) => (await CliRun.Of("score", "--model", world.Model, "--input", input, "--threads", "1", "--json", "--vector", vector)).Out;
        (await Score(output)).Should().Be(await Score($"{output}:1@all+bos")).And.NotBe(await Score($"{output}@all")).And.Contain("logprob");

        var json = await CliRun.Of(["vector", "export", world.Vector, "--to", "control-vector", "--output", output, "--json", .. Measured()]);
        var lost = JsonDocument.Parse(json.Out).RootElement.GetProperty("lost");
        lost.GetProperty("vectors")[0].GetProperty("flatten_gap").GetDouble().Should().BeInRange(0.001, 2);
        lost.GetProperty("kl_per_token").GetDouble().Should().BeGreaterThan(0);
        (await CliRun.Of("vector", "export", world.Dense, "--to", "control-vector", "--output", world.In("never.gguf"))).ExitCode.Should().Be(3, "it acts after block 0");
    }

    [Fact]
    public async Task TopKVector_IsPrunedExportedAndVerifiedThroughItsSae()
    {
        var sae = RandomSae.Save(world.In("topk.gguf"), 64, 100, CliWorld.Layer, topK: 10);
        using (var open = SaeFile.Open(sae))
        {
            new SteeringFile { Name = "topk", Base = ModelFingerprint.Compute(world.Model).ToBaseModel(), DModel = 64, Vectors = [VectorBuilder.Sparse(open, [1, 30, 77], [9f, -9f, 9f], "topk")] }.Save(world.In("topk.ysv"));
        }

        var prune = await CliRun.Of(["vector", "prune", world.In("topk.ysv"), "--top-k", "2", "--output", world.In("topk-2.ysv"), .. Measured()]);
        prune.ExitCode.Should().Be(0, prune.Error);
        prune.Out.Should().Contain("3 to 2").And.Contain("nats");
        var export = await CliRun.Of(["vector", "export", world.In("topk.ysv"), "--to", "control-vector", "--output", world.In("topk-cv.gguf"), .. Measured()]);
        export.ExitCode.Should().Be(0, export.Error);
        export.Out.Should().Contain("layer 1 differs by");
        (await CliRun.Of("vector", "verify", world.In("topk.ysv"), "--model", world.Model, "--sae", sae)).ExitCode.Should().Be(0);
        (await CliRun.Of("vector", "verify", world.In("topk.ysv"), "--model", world.Model)).Out.Should().MatchRegex(@"topk: hook +\| FAILED").And.Contain("whole encoder");
    }

    [Theory]
    [InlineData("safetensors")]
    [InlineData("npz")]
    public async Task Export_ForPython_ImportsBack(string format)
    {
        var output = world.In($"exported.{format}");

        var run = await CliRun.Of("vector", "export", world.Dense, "--to", format, "--output", output, "--json");

        run.ExitCode.Should().Be(0, run.Error);
        JsonDocument.Parse(run.Out).RootElement.GetProperty("warnings").GetArrayLength().Should().Be(0);
        (await CliRun.Of("vector", "import", "--input", output, "--member", "v.0.value", "--dense", "--layer", "0", "--model", world.Model, "--output", world.In("back.ysv"))).ExitCode.Should().Be(0);
        SteeringFile.Load(world.In("back.ysv")).Vectors[0].Value.Should().Equal(SteeringFile.Load(world.Dense).Vectors[0].Value);
    }

    [Fact]
    public async Task Import_PytorchVectorsOfSeveralLayers_AreOneFile()
    {
        float[] Values(int seed) => [.. Enumerable.Range(0, 64).Select(i => (float)Math.Sin(i + seed))];
        File.WriteAllBytes(world.In("l1.pt"), TensorWriter.Pt(new TestTensor("", [64], Values(1), TensorType.BF16)));
        File.WriteAllBytes(world.In("l2.pt"), TensorWriter.Pt(new TestTensor("", [1, 64], Values(2))));
        var output = world.In("layers.ysv");

        var run = await CliRun.Of("vector", "import", "--input", world.In("l1.pt"), "--input", world.In("l2.pt"), "--dense", "--layer", "0", "--layer", "2", "--model", world.Model, "--output", output, "--name", "bipo");

        run.ExitCode.Should().Be(0, run.Error);
        var vectors = SteeringFile.Load(output).Vectors;
        vectors.Select(v => (v.Name, v.Layer)).Should().Equal(("bipo 0", 0), ("bipo 2", 2));
        vectors[0].Value.Should().Equal(new TestTensor("", [64], Values(1), TensorType.BF16).Stored());
        vectors[1].Value.Should().Equal(Values(2));
    }

    [Fact]
    public async Task Import_PytorchLatents_TakeTheirRowsFromTheSae()
    {
        var values = new float[CliWorld.Features];
        (values[7], values[90]) = (1.5f, -2f);
        File.WriteAllBytes(world.In("yapo.pt"), TensorWriter.Pt(new TestTensor("", [CliWorld.Features], values, TensorType.BF16)));
        var output = world.In("yapo.ysv");

        var run = await CliRun.Of("vector", "import", "--input", world.In("yapo.pt"), "--sae", world.Sae, "--model", world.Model, "--output", output);

        run.ExitCode.Should().Be(0, run.Error);
        SteeringFile.Load(output).Vectors.Should().ContainSingle().Which.Index.Should().Equal(7, 90);
        (await CliRun.Of("vector", "verify", output, "--model", world.Model, "--sae", world.Sae)).ExitCode.Should().Be(0);
    }

    [Fact]
    public async Task Import_RepengFile_LayersCanBeChosen()
    {
        // As repeng writes it: the Hugging Face model type as hint, the number of directions as layer count.
        var input = world.In("repeng.gguf");
        new GgufWriter().Set("general.architecture", "controlvector").Set("controlvector.model_hint", "mistral").Set("controlvector.layer_count", 2u)
            .AddTensor("direction.2", GgmlType.F32, [64], new float[64].Select((_, i) => (float)i).ToArray())
            .AddTensor("direction.1", GgmlType.F32, [64], new float[64].Select((_, i) => -(float)i).ToArray())
            .Save(input);

        var all = await CliRun.Of("vector", "import", "--input", input, "--model", world.Model, "--output", world.In("repeng.ysv"));
        all.ExitCode.Should().Be(0, all.Error);
        all.Error.Should().Contain("2 layers, made for 'mistral'");
        SteeringFile.Load(world.In("repeng.ysv")).Vectors.Select(v => (v.Layer, v.Value[1])).Should().Equal((1, -1f), (2, 1f));
        (await CliRun.Of("vector", "import", "--input", input, "--layer", "2", "--model", world.Model, "--output", world.In("repeng.ysv"))).ExitCode.Should().Be(0);
        SteeringFile.Load(world.In("repeng.ysv")).Vectors.Select(v => v.Layer).Should().Equal(2);
        var missing = await CliRun.Of("vector", "import", "--input", input, "--layer", "7", "--model", world.Model, "--output", world.In("repeng.ysv"));
        missing.ExitCode.Should().Be(2);
        missing.Error.Should().Contain("layer 7").And.Contain("1, 2");
    }

    private string[] Measured() => ["--model", world.Model, "--data", world.Write("neutral.txt", "what is the tea in the other model\n\nthe hat is on the mat\n"), "--threads", "1"];

    [Theory]
    [InlineData("prune sparse.ysv --output out.ysv", 2, "exactly one of")]
    [InlineData("prune sparse.ysv --top-k 2 --mass 0.5 --output out.ysv", 2, "exactly one of")]
    [InlineData("prune sparse.ysv --top-k 0 --output out.ysv", 2, "out of range")]
    [InlineData("prune sparse.ysv --top-k much --output out.ysv", 2, "much")]
    [InlineData("prune sparse.ysv --mass NaN --output out.ysv", 2, "out of range")]
    [InlineData("prune sparse.ysv --kl 0.1 --output out.ysv", 2, "--kl needs --model")]
    [InlineData("prune sparse.ysv --top-k 2 --model model.gguf --output out.ysv", 2, "belong together")]
    [InlineData("prune sparse.ysv --kl 0.1 --model other.gguf --data score.txt --output out.ysv", 3, "was made for")]
    [InlineData("prune sparse.ysv --kl 0.1 --model model.gguf --data empty.txt --output out.ysv", 3, "no text")]
    [InlineData("prune sparse.ysv --top-k 2 --model model.gguf --data missing.txt --output out.ysv", 3, "missing.txt")]
    [InlineData("prune sparse.ysv --top-k 2 --output sparse.ysv", 2, "also an input")]
    [InlineData("prune dense.ysv --top-k 2 --output out.ysv", 3, "dense vectors only")]
    [InlineData("export sparse.ysv --to pickle --output out.pt", 2, "pickle")]
    [InlineData("export sparse.ysv --to npz --output no/such/folder/out.npz", 1, "does not exist")]
    [InlineData("export missing.ysv --to npz --output out.npz", 3, "missing.ysv")]
    [InlineData("export sae.gguf --to npz --output out.npz", 3, "it is an SAE")]
    [InlineData("import --input score.txt --dense --layer 1 --model model.gguf --output out.ysv", 3, "no format that is known")]
    [InlineData("import --input dense.ysv --dense --layer 1 --model model.gguf --output out.ysv", 3, "no format that is known")]
    [InlineData("import --input sae.gguf --model model.gguf --output out.ysv", 3, "controlvector")]
    [InlineData("import --input a.pt --input sae.gguf --dense --layer 1 --model model.gguf --output out.ysv", 3, "a.pt")]
    [InlineData("import --input ones.pt --input ones.pt --dense --layer 1 --model model.gguf --output out.ysv", 2, "one --layer per array, 2 here")]
    [InlineData("import --input ones.pt --input ones.pt --sae sae.gguf --model model.gguf --output out.ysv", 2, "as many --sae")]
    [InlineData("import --input ones.pt --input sae.gguf --dense --layer 1 --model model.gguf --output out.ysv", 2, "is a control vector")]
    [InlineData("import --input ones.pt --sae sae.gguf --model model.gguf --output out.ysv", 3, "64 entries")]
    [InlineData("import --input nan.pt --dense --layer 1 --model model.gguf --output out.ysv", 3, "value[5]")]
    [InlineData("import --input ones.pt --dense --layer 1 --layer x --model model.gguf --output out.ysv", 2, "x")]
    [InlineData("import --input ones.pt --dense --layer 1 --model model.gguf --output ones.pt", 2, "also an input")]
    [InlineData("combine missing.ysv --output out.ysv", 3, "missing.ysv")]
    [InlineData("combine sparse.ysv:much --output out.ysv", 2, "strength 'much'")]
    [InlineData("combine sparse.ysv:1@nowhere --output out.ysv", 2, "positions 'nowhere'")]
    [InlineData("combine sparse.ysv second.ysv --output ./second.ysv", 2, "also an input")]
    [InlineData("combine sparse.ysv --output no/such/folder/out.ysv", 1, "does not exist")]
    [InlineData("combine sparse.ysv:0 --output out.ysv", 2, "strengths are 0")]
    [InlineData("combine sparse.ysv:1e38 sparse.ysv:1e38 --output out.ysv", 3, "finite")]
    [InlineData("combine --output out.ysv", 2, "combine")]
    [InlineData("verify missing.ysv --model model.gguf", 3, "missing.ysv")]
    [InlineData("verify sparse.ysv --model missing.gguf", 3, "missing.gguf")]
    [InlineData("verify sparse.ysv --model model.gguf --sae sparse.ysv", 3, "steering vector")]
    [InlineData("verify sparse.ysv --model sae.gguf", 3, "no model")]
    [InlineData("diff sparse.ysv missing.ysv", 3, "missing.ysv")]
    [InlineData("diff sparse.ysv", 2, "diff")]
    public async Task AnyCommand_BadInput_ExitsAsDocumentedAndWritesNothing(string line, int code, string expected)
    {
        world.Write("empty.txt", "\n\n");
        File.WriteAllBytes(world.In("ones.pt"), TensorWriter.Pt(new TestTensor("", [64], [.. Enumerable.Repeat(1f, 64)])));
        File.WriteAllBytes(world.In("nan.pt"), TensorWriter.Pt(new TestTensor("", [64], [1, 1, 1, 1, 1, float.NaN, .. Enumerable.Repeat(1f, 58)])));
        world.Write("score.txt", "what is the tea\n");
        var before = world.Files();

        var run = await CliRun.Of(["vector", .. line.Split(' ').Select(word => word.Contains('.', StringComparison.Ordinal) && !char.IsAsciiDigit(word[0]) ? world.In(word) : word)]);

        run.ExitCode.Should().Be(code, run.Error);
        run.Error.Should().Contain("error:").And.Contain(expected).And.NotContain("unexpected");
        run.Out.Should().BeEmpty();
        world.Files().Should().Equal(before);
    }

    [Theory]
    [InlineData("combine {0} --output out.ysv")]
    [InlineData("prune {0} --top-k 1 --output out.ysv")]
    [InlineData("export {0} --to npz --output out.npz")]
    [InlineData("export {0} --to control-vector --output out.gguf")]
    [InlineData("diff {0} sparse.ysv")]
    [InlineData("info {0}")]
    public async Task AnyCommand_NaNOrWrongCounts_NamesThemAndWritesNothing(string line)
    {
        var bytes = File.ReadAllBytes(world.Vector);
        float[] value;
        using (var gguf = GgufFile.Open(world.Vector))
        {
            value = gguf.ReadFloats(gguf.RequireTensor("v.0.value"));
        }

        byte[] nan = [.. bytes];
        BitConverter.GetBytes(float.NaN).CopyTo(nan, nan.AsSpan().IndexOf(MemoryMarshal.AsBytes(value.AsSpan())) + 4);
        File.WriteAllBytes(world.In("nan.ysv"), nan);
        byte[] counts = [.. bytes];
        counts[counts.AsSpan().IndexOf("yapo.n_vectors"u8) + "yapo.n_vectors".Length + 4] = 2;
        File.WriteAllBytes(world.In("counts.ysv"), counts);
        var before = world.Files();

        foreach (var (file, expected) in new[] { ("nan.ysv", "value[1] is NaN"), ("counts.ysv", "'yapo.vector.1.layer'") })
        {
            var run = await CliRun.Of(["vector", .. line.Split(' ').Select(word => word == "{0}" ? world.In(file) : word.Contains('.', StringComparison.Ordinal) ? world.In(word) : word)]);

            run.ExitCode.Should().Be(3);
            run.Error.Should().Contain(file).And.Contain(expected);
            run.Out.Should().BeEmpty();
        }

        world.Files().Should().Equal(before);
    }

    [Fact]
    public void Process_PruneInterrupted_Exits130AndWritesNothing()
    {
        world.Write("long.txt", string.Concat(Enumerable.Repeat("what is the tea in the other model\n\n", 4000)));
        var before = world.Files();
        using var process = CliProcess.Start(
            world.Folder, "vector", "prune", "sparse.ysv", "--kl", "0.1", "--model", "model.gguf", "--data", "long.txt", "--tokens", "1000000", "--threads", "1", "--output", "interrupted.ysv");

        process.WaitUntil(p => p.Error.Contains("vector sparse.ysv", StringComparison.Ordinal), "the measurement");
        process.Interrupt();

        process.WaitForExit().Should().Be(130, process.Error);
        process.Finish().Error.Should().EndWith("interrupted\n");
        world.Files().Should().Equal(before);
    }

    [Theory]
    [InlineData("combine sparse.ysv --output /proc/nothing.ysv", 1, "cannot write")]
    [InlineData("prune sparse.ysv --top-k 1 --output .", 1, "it is a folder")]
    [InlineData("export sparse.ysv --to safetensors --output sparse.ysv", 2, "also an input")]
    public void Process_UnwritableOutput_ExitsAsDocumentedAndWritesNothing(string line, int code, string expected)
    {
        var before = world.Files();

        var run = CliProcess.Run(world.Folder, "", ["vector", .. line.Split(' ')]);

        run.ExitCode.Should().Be(code, run.Error);
        run.Error.Should().Contain(expected);
        world.Files().Should().Equal(before);
    }

    [Fact]
    public void Process_CombineThenVerifyThenDiff_RelativePaths()
    {
        var combine = CliProcess.Run(world.Folder, "", "vector", "combine", "sparse.ysv:-1", "dense.ysv", "--output", "process é.ysv");
        combine.ExitCode.Should().Be(0, combine.Error);
        combine.Out.Should().Contain("3 of 96 features").And.Contain("wrote process é.ysv");
        var verify = CliProcess.Run(world.Folder, "", "vector", "verify", "process é.ysv", "--model", "other.gguf");
        verify.ExitCode.Should().Be(3);
        verify.Out.Should().Contain("FAILED");
        var diff = CliProcess.Run(world.Folder, "", "vector", "diff", "sparse.ysv", "process é.ysv");
        diff.ExitCode.Should().Be(0, diff.Error);
        diff.Out.Should().Contain("cosine in latents  -1").And.Contain("only in B: dense, layer 0");
    }
}

using System.Text.Json;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Cli;

/// <summary>vector combine, verify and diff on a random model.</summary>
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

    [Theory]
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
        var before = world.Files();

        var run = await CliRun.Of(["vector", .. line.Split(' ').Select(word => word.Contains('.', StringComparison.Ordinal) ? world.In(word) : word)]);

        run.ExitCode.Should().Be(code, run.Error);
        run.Error.Should().Contain("error:").And.Contain(expected).And.NotContain("unexpected");
        run.Out.Should().BeEmpty();
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

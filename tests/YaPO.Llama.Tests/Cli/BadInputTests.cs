using YaPO.Llama.Gguf;
using YaPO.Llama.Models;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Cli;

/// <summary>Things that do not belong together or are damaged: a message with file, expected and found, and the documented exit code.</summary>
public sealed class BadInputTests(CliWorld world) : NativeTest, IClassFixture<CliWorld>
{
    [Fact]
    public async Task Generate_VectorWithNaN_NamesTheEntry()
    {
        var bytes = File.ReadAllBytes(world.Dense);
        float marker;
        using (var file = GgufFile.Open(world.Dense))
        {
            marker = file.ReadFloats(file.RequireTensor("v.0.value"))[5];
        }

        var at = bytes.AsSpan().LastIndexOf(BitConverter.GetBytes(marker));
        BitConverter.GetBytes(float.NaN).CopyTo(bytes, at);
        File.WriteAllBytes(world.In("nan.ysv"), bytes);

        var run = await Generate("--vector", world.In("nan.ysv"), "--model", world.Model);

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("nan.ysv").And.Contain("value[5]").And.Contain("finite");
    }

    [Fact]
    public async Task Generate_VectorOfAnotherWidth_SaysExpectedAndFound()
    {
        var path = Save("wide.ysv", VectorBuilder.Dense(new float[96], 1, "wide"), BaseModel.Unknown, 96);

        var run = await Generate("--vector", path, "--model", world.Model, "--allow-mismatch");

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("d_model 96").And.Contain("64");
    }

    [Fact]
    public async Task Generate_VectorBeyondTheLastLayer_NamesTheLayers()
    {
        var path = Save("deep.ysv", VectorBuilder.Dense(new float[64], 9, "deep"), BaseModel.Unknown, 64);

        var run = await Generate("--vector", path, "--model", world.Model);

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("layer 9").And.Contain("0 … 2");
    }

    [Fact]
    public async Task Generate_VectorWithoutBase_WarnsAndRuns()
    {
        var path = Save("unknown.ysv", VectorBuilder.Dense(new float[64], 1, "unknown"), BaseModel.Unknown, 64);

        var run = await Generate("--vector", path, "--model", world.Model);

        run.ExitCode.Should().Be(0, run.Error);
        run.Error.Should().Contain("warning:").And.Contain("does not say which model");
    }

    [Fact]
    public async Task Generate_NoModelOfThatFingerprint_SaysWhereItLookedAndWhatToDo()
    {
        var folder = Directory.CreateDirectory(world.In("lonely")).FullName;
        var path = Path.Combine(folder, "orphan.ysv");
        new SteeringFile
        {
            Name = "orphan",
            Base = new BaseModel { Architecture = "gemma2", Name = "nobody", Fingerprint = new string('a', 64) },
            DModel = 64,
            Vectors = [VectorBuilder.Dense(new float[64], 1, "orphan")],
        }.Save(path);

        var run = await Generate("--vector", path);

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("nobody").And.Contain("aaaaaaaaaaaa").And.Contain(folder).And.Contain("--model");
    }

    [Theory]
    [InlineData("sparse.ysv:much", "strength 'much'")]
    [InlineData("sparse.ysv@nowhere", "positions 'nowhere'")]
    [InlineData("sparse.ysv@9-3", "9-3")]
    public async Task Generate_WrongSpec_IsWrongUsage(string spec, string expected)
    {
        var run = await Generate("--vector", world.In(spec), "--model", world.Model);

        run.ExitCode.Should().Be(2);
        run.Error.Should().Contain(expected);
    }

    [Fact]
    public async Task Generate_UnknownDevice_NamesIt()
    {
        var run = await Generate("--model", world.Model, "--device", "no-such-device");

        run.ExitCode.Should().BeOneOf(2, 3);
        run.Error.Should().Contain("no-such-device");
    }

    [Theory]
    [InlineData("{\"prompt\": \"a\"}\n{\"prompt\": 5}", "line 2")]
    [InlineData("{\"prompt\": \"a\"}\n\n{\"promt\": \"a\"}", "line 3")]
    [InlineData("{\"prompt\": [{\"role\": \"robot\", \"content\": \"x\"}]}", "robot")]
    [InlineData("{\"prompt\": [{\"role\": \"assistant\", \"content\": \"x\"}]}", "last message")]
    [InlineData("{\"prompt\": \"  \"}", "empty")]
    [InlineData("not json", "line 1")]
    public async Task Generate_MalformedLine_NamesItBeforeTheModelIsLoaded(string content, string expected)
    {
        var input = world.Write("bad-prompts.jsonl", content);

        var run = await CliRun.Of("generate", "--input", input, "--model", world.In("missing-model.gguf"));

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("bad-prompts.jsonl").And.Contain(expected).And.NotContain("missing-model");
        run.Out.Should().BeEmpty();
    }

    [Fact]
    public async Task AnyModelCommand_DamagedModels_NeverCrash()
    {
        var whole = File.ReadAllBytes(world.Model);
        var random = new Random(17);
        for (var i = 0; i < 40; i++)
        {
            // Damage in the head, where the structure is; tensor data has no wrong values but NaN.
            var bytes = i % 4 == 0 ? whole[..random.Next(whole.Length)] : [.. whole];
            for (var n = 0; n < 3 && bytes.Length > 0; n++)
            {
                bytes[random.Next(Math.Min(bytes.Length, 12_000))] = (byte)random.Next(256);
            }

            File.WriteAllBytes(world.In("damaged.gguf"), bytes);
            var run = await CliRun.Of("model", "info", world.In("damaged.gguf"));

            run.ExitCode.Should().BeOneOf([0, 3], $"case {i}: {run.Error}");
            run.Error.Should().NotContain("unexpected", $"case {i}");
        }
    }

    private string Save(string name, SteeringVector vector, BaseModel baseModel, int dModel)
    {
        new SteeringFile { Name = vector.Name, Base = baseModel, DModel = dModel, Vectors = [vector] }.Save(world.In(name));
        return world.In(name);
    }

    private static Task<CliRun> Generate(params string[] args) => CliRun.Of(["generate", "-p", "what", "-n", "3", "--threads", "1", .. args]);
}

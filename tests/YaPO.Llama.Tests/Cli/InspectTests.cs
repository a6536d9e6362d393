using System.Text.Json;
using YaPO.Llama.Models;
using YaPO.Llama.Sae;
using YaPO.Llama.Steering;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Cli;

/// <summary>inspect, and steering with a TopK vector, as people and scripts call them.</summary>
public sealed class InspectTests(CliWorld world) : NativeTest, IClassFixture<CliWorld>
{
    private const int Width = 64;

    [Fact]
    public async Task Inspect_Text_ListsTokensFeaturesAndWhatTheyPromote()
    {
        var labels = world.Write("labels.jsonl", string.Concat(Enumerable.Range(0, CliWorld.Features).Select(i => $"{{\"index\": \"{i}\", \"description\": \"label {i}\"}}\n")));

        var run = await Inspect("-p", "what is the user", "--labels", labels, "--top", "3", "--json");

        run.ExitCode.Should().Be(0, run.Error);
        var root = JsonDocument.Parse(run.Out).RootElement;
        var tokens = root.GetProperty("tokens").EnumerateArray().ToList();
        tokens[0].GetProperty("bos").GetBoolean().Should().BeTrue();
        string.Concat(tokens.Skip(1).Select(t => t.GetProperty("text").GetString())).Should().EndWith("what is the user");
        tokens.Should().AllSatisfy(t => t.GetProperty("features").GetArrayLength().Should().BeLessThanOrEqualTo(3));
        var features = root.GetProperty("features").EnumerateArray().ToList();
        features.Should().HaveCount(3);
        features.Select(f => f.GetProperty("weight").GetDouble()).Should().BeInDescendingOrder();
        features.Should().AllSatisfy(f =>
        {
            f.GetProperty("label").GetString().Should().Be($"label {f.GetProperty("feature").GetInt32()}");
            f.GetProperty("promotes").GetArrayLength().Should().Be(5);
        });
    }

    [Fact]
    public async Task Inspect_Vector_RanksItsEntriesByEffect()
    {
        var run = await CliRun.Of("inspect", "--sae", world.Sae, "--vector", world.Vector + ":2", "-p", "what is the user", "--threads", "1", "--json");

        run.ExitCode.Should().Be(0, run.Error);
        var vector = JsonDocument.Parse(run.Out).RootElement.GetProperty("vectors").EnumerateArray().Should().ContainSingle().Subject;
        vector.GetProperty("relative_change").GetDouble().Should().BeGreaterThan(0.01);
        var features = vector.GetProperty("features").EnumerateArray().ToList();
        features.Select(f => f.GetProperty("feature").GetInt32()).Should().BeEquivalentTo([3, 17, 40]);
        features.Select(f => f.GetProperty("effect").GetDouble()).Should().BeInDescendingOrder();
        features.Single(f => f.GetProperty("feature").GetInt32() == 3).GetProperty("acting").GetDouble().Should().Be(1, "a positive value acts everywhere");
        features.Single(f => f.GetProperty("feature").GetInt32() == 17).GetProperty("acting").GetDouble().Should().BeLessThanOrEqualTo(1);
    }

    [Fact]
    public void Inspect_AsAProcess_WritesPlainTablesAndSnippets()
    {
        var data = world.Write("places.txt", "what is the user\n\nthe old bridge\n\neat the model\n");

        var run = CliProcess.Run(world.Folder, "", "inspect", "--model", world.Model, "-p", "what is the user", "--feature", "3", "--data", data, "--vector", world.Vector, "--threads", "1");

        run.ExitCode.Should().Be(0, run.Error);
        run.Out.Should().Contain("what is the user").And.Contain("promotes").And.Contain("fires on").And.Contain("mean ‖Δh‖/‖h‖").And.NotContain("\u001b");
        run.Error.Should().Contain("sae.gguf", "the SAE was found beside the model");
    }

    [Fact]
    public async Task Inspect_BadInput_IsRefusedByName()
    {
        var wide = RandomSae.Save(world.In("inspect-wide.gguf"), 2 * Width, 40, CliWorld.Layer);
        var broken = world.Write("broken-labels.jsonl", "{\"index\": 1, \"description\": \"a\"}\n{\"index\": 2}\n");
        var beyond = world.Write("beyond-labels.json", "{\"5000\": \"a\"}");
        foreach (var (code, expected, args) in new (int, string, string[])[]
        {
            (2, "is empty", ["-p", ""]),
            (2, "give -p TEXT", []),
            (2, "give --feature ID too", ["-p", "a", "--data", broken]),
            (2, "feature 96 is out of range", ["--feature", "96"]),
            (2, "feature -1 is out of range", ["--feature", "-1"]),
            (3, "d_model 128", ["-p", "a", "--sae", wide]),
            (3, "line 2", ["-p", "a", "--labels", broken]),
            (3, "labels of another SAE", ["-p", "a", "--labels", beyond]),
            (3, "steering vector", ["-p", "a", "--sae", world.Vector]),
            (3, "no-such", ["--feature", "1", "--data", world.In("no-such.txt")]),
        })
        {
            var run = await CliRun.Of(["inspect", "--model", world.Model, "--threads", "1", .. args.Contains("--sae") ? Array.Empty<string>() : ["--sae", world.Sae], .. args]);
            run.ExitCode.Should().Be(code, $"{expected}: {run.Error}");
            run.Error.Should().Contain(expected);
        }
    }

    [Fact]
    public async Task Inspect_SaeOfAnotherModelOfTheShape_Warns()
    {
        var other = await CliRun.Of("inspect", "--model", world.OtherModel, "--sae", world.Sae, "-p", "what", "--threads", "1", "--json");
        var own = await Inspect("-p", "what", "--json");

        other.ExitCode.Should().Be(0, other.Error);
        other.Error.Should().Contain("warning").And.Contain("was trained on random gemma2").And.Contain("another model");
        own.Error.Should().NotContain("warning: " + world.Sae);
    }

    [Fact]
    public async Task Generate_TopKVector_NeedsItsSaeAndFindsIt()
    {
        var away = Directory.CreateDirectory(world.In("away")).FullName;
        var saePath = RandomSae.Save(Path.Combine(away, "top.gguf"), Width, 200, CliWorld.Layer, topK: 6);
        var vectors = Directory.CreateDirectory(world.In("topk")).CreateSubdirectory("vectors").FullName;
        var path = Path.Combine(vectors, "top.ysv");
        using (var sae = SaeFile.Open(saePath))
        {
            var vector = VectorBuilder.Sparse(sae, [5, 60, 150], [30f, -30f, 30f], "top");
            new SteeringFile { Base = ModelFingerprint.Compute(world.Model).ToBaseModel(), DModel = Width, Vectors = [vector] }.Save(path);
        }

        string[] generate = ["generate", "-p", "eat the model", "-n", "12", "--greedy", "--threads", "1", "--model", world.Model];
        var missing = await CliRun.Of([.. generate, "--vector", path]);
        var plain = await CliRun.Of(generate);
        var named = await CliRun.Of([.. generate, "--vector", path, "--sae", saePath]);
        var wrong = await CliRun.Of([.. generate, "--vector", path, "--sae", world.Sae]);
        File.Copy(saePath, world.In("topk/sae.gguf"));
        var found = await CliRun.Of([.. generate, "--vector", path]);
        var zero = await CliRun.Of([.. generate, "--vector", path + ":0"]);

        missing.ExitCode.Should().Be(3);
        missing.Error.Should().Contain("6 largest").And.Contain("--sae");
        wrong.ExitCode.Should().Be(3);
        wrong.Error.Should().Contain("SHA-256");
        named.ExitCode.Should().Be(0, named.Error);
        named.Out.Should().NotBe(plain.Out);
        found.Out.Should().Be(named.Out);
        zero.Out.Should().Be(plain.Out);
    }

    [Fact]
    public async Task Chat_FeaturesAfterAnAnswer_ShowsWhatFired()
    {
        var run = await CliRun.With(null, "/features\nwhat is the user\n/features\n/quit\n", "chat", "--vector", world.Vector, "--model", world.Model, "-n", "6", "--greedy", "--threads", "1");

        run.ExitCode.Should().Be(0, run.Error);
        run.Error.Should().Contain("3 strongest of 3 features", "there is no answer yet").And.Contain("the last answer's").And.Contain("at layer 1");
    }

    private Task<CliRun> Inspect(params string[] args) => CliRun.Of(["inspect", "--model", world.Model, "--sae", world.Sae, "--threads", "1", .. args]);
}

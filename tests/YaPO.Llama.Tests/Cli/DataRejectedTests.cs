using System.Text.Json;
using YaPO.Llama.Datasets;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Cli;

/// <summary>data rejected: the pairs it makes, and that no interruption shows in them.</summary>
public sealed class DataRejectedTests(CliWorld world) : NativeTest, IClassFixture<CliWorld>
{
    private static readonly string Prompts = string.Concat(Enumerable.Range(0, 30).Select(i => $"{{\"prompt\": \"what is the {i} größe\", \"chosen\": \"the model {i}\", \"topic\": \"t{i}\"}}\n"));

    [Theory]
    [InlineData()]
    [InlineData("--temp", "1.2", "--seed", "5")]
    public void KilledAndResumed_GivesTheBytesOfAnUninterruptedRun(params string[] sampling)
    {
        var input = world.Write("in.jsonl", Prompts);
        var (whole, cut) = (world.In("whole.jsonl"), world.In("cut.jsonl"));
        File.Delete(whole);
        File.Delete(cut);
        string[] Arguments(string output) => ["data", "rejected", "--model", world.Model, "--input", input, "--output", output, "--parallel", "4", "-n", "40", "--threads", "1", .. sampling];
        CliProcess.Run(world.Folder, "", Arguments(whole)).ExitCode.Should().Be(0);

        using (var process = CliProcess.Start(world.Folder, Arguments(cut)))
        {
            process.WaitUntil(_ => File.Exists(ResumableLines.PartialPath(cut)) && new FileInfo(ResumableLines.PartialPath(cut)).Length > 0, "the first group");
            process.Kill();
        }

        File.Exists(cut).Should().BeFalse("a file under its own name is finished");
        File.AppendAllText(ResumableLines.PartialPath(cut), "{\"prompt\": \"half a li");
        var resumed = CliProcess.Run(world.Folder, "", Arguments(cut));

        resumed.ExitCode.Should().Be(0, resumed.Error);
        resumed.Error.Should().Contain("going on behind ");
        File.ReadAllBytes(cut).Should().Equal(File.ReadAllBytes(whole));
        File.Exists(ResumableLines.PartialPath(cut)).Should().BeFalse();
        File.ReadAllBytes(ResumableLines.SettingsPath(cut)).Should().Equal(File.ReadAllBytes(ResumableLines.SettingsPath(whole)));
    }

    [Fact]
    public async Task Pairs_KeepTheirFields_AndSettingsAreRecorded()
    {
        var output = world.In("pairs.jsonl");

        var run = await CliRun.Of("data", "rejected", "--model", world.Model, "--input", world.Write("in.jsonl", Prompts), "--output", output, "-n", "6", "--threads", "1", "--temp", "0.7");

        run.ExitCode.Should().Be(0, run.Error);
        var pairs = PreferencePair.Load(output);
        pairs[0].Prompt[0].Content.Should().Be("what is the 0 größe");
        pairs.Should().OnlyContain(p => p.Rejected.Length > 0 && p.Rejected != p.Chosen && p.Extra.ContainsKey("topic"));
        run.Out.Should().Contain($"{pairs.Count} pairs");
        using var settings = JsonDocument.Parse(File.ReadAllText(ResumableLines.SettingsPath(output)));
        settings.RootElement.GetProperty("sampling").GetProperty("temperature").GetDouble().Should().BeApproximately(0.7, 1e-6);
        settings.RootElement.GetProperty("model_sha256").GetString().Should().HaveLength(64);
    }

    [Fact]
    public async Task OtherSettings_ThanThePartialFiles_AreRefused()
    {
        var output = world.In("mixed.jsonl");
        File.WriteAllText(ResumableLines.PartialPath(output), "");
        File.WriteAllText(ResumableLines.PartialPath(output) + ".json", "{}");

        var run = await CliRun.Of("data", "rejected", "--model", world.Model, "--input", world.Write("in.jsonl", Prompts), "--output", output, "-n", "6", "--threads", "1");

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("mixed.jsonl.partial").And.Contain("other settings");
    }

    [Theory]
    [InlineData("{\"prompt\": \"x\"}", "line 1: field 'chosen' is missing")]
    [InlineData("{\"chosen\": \"x\"}", "line 1: field 'prompt' is missing")]
    [InlineData("", "holds no line")]
    public async Task BadInput_IsNamed(string content, string expected)
    {
        var run = await CliRun.Of("data", "rejected", "--model", world.Model, "--input", world.Write("bad.jsonl", content), "--output", world.In("o.jsonl"));

        run.ExitCode.Should().Be(3);
        run.Error.Should().Contain("bad.jsonl").And.Contain(expected);
    }
}

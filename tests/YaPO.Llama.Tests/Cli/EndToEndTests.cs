using System.Text.Json;
using YaPO.Llama.Tests.Sessions;

namespace YaPO.Llama.Tests.Cli;

/// <summary>The built executable as a process: streams, exit codes, signals.</summary>
public sealed class EndToEndTests(CliWorld world) : IClassFixture<CliWorld>
{
    [Fact]
    public void Help_AsAProcess_HasNoEscapeSequences()
    {
        var run = CliProcess.Run(world.Folder, "", "--help");

        run.ExitCode.Should().Be(0);
        run.Out.Should().Contain("chat").And.Contain("generate").And.Contain("score").And.NotContain("\u001b");
        run.Error.Should().BeEmpty();
    }

    [Theory]
    [InlineData("chta", "chat")]
    [InlineData("vector infos x.ysv", "info")]
    [InlineData("chat --modle x.gguf", "--model")]
    [InlineData("chat --temperature=0.5", "--temp")]
    public void Typo_AsAProcess_SuggestsAndExitsWithUsage(string line, string suggestion)
    {
        var run = CliProcess.Run(world.Folder, "", line.Split(' '));

        run.ExitCode.Should().Be(2);
        run.Error.Should().Contain("did you mean").And.Contain(suggestion).And.Contain("--help").And.NotContain("equired", "what follows from a typo is not said");
        run.Out.Should().BeEmpty();
    }

    [Fact]
    public void Chat_PipedQuestion_AnswersOnStdoutAndNothingElse()
    {
        var run = CliProcess.Run(world.Folder, "What do people eat for breakfast?\n", "chat", "--vector", "sparse.ysv:2", "-n", "6", "--threads", "1");

        run.ExitCode.Should().Be(0, run.Error);
        run.Out.Should().NotBeEmpty().And.NotContain("\u001b").And.NotContain("> ");
        run.Error.Should().Contain("model.gguf").And.Contain("sparse.ysv: strength 2").And.NotContain("\u001b");
    }

    [Fact]
    public void Generate_FromStdin_GivesJsonLinesThatParse()
    {
        var run = CliProcess.Run(
            world.Folder, "{\"prompt\": \"café ☕ مرحبا\", \"id\": 1}\n{\"prompt\": \"what\"}\n",
            "generate", "--input", "-", "--vector", "sparse.ysv", "-n", "4", "--temp", "1", "--json", "--threads", "1", "--quiet");

        run.ExitCode.Should().Be(0, run.Error);
        run.Out.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement.GetProperty("index").GetInt32()).Should().Equal(0, 1);
        run.Error.Should().BeEmpty("--quiet leaves errors only");
    }

    [Fact]
    public void Doctor_Json_IsOneDocumentThatSaysWhatCanBeSteered()
    {
        var run = CliProcess.Run(world.Folder, "", "doctor", "--model", "model.gguf", "--json", "--threads", "1");

        run.ExitCode.Should().Be(0, run.Error);
        var root = JsonDocument.Parse(run.Out).RootElement;
        root.GetProperty("ok").GetBoolean().Should().BeTrue();
        root.GetProperty("devices").GetArrayLength().Should().BePositive();
        root.GetProperty("checks").EnumerateArray().Select(c => c.GetProperty("detail").GetString()).Should().Contain(d => d!.StartsWith("3 of 3 blocks", StringComparison.Ordinal));
    }

    [Fact]
    public void ModelInfo_Json_TellsShapeAndTypes()
    {
        var run = CliProcess.Run(world.Folder, "", "model", "info", "model.gguf", "--json");

        run.ExitCode.Should().Be(0, run.Error);
        var root = JsonDocument.Parse(run.Out).RootElement;
        root.GetProperty("layers").GetInt32().Should().Be(3);
        root.GetProperty("d_model").GetInt32().Should().Be(64);
        root.GetProperty("tensor_types")[0].GetProperty("type").GetString().Should().Be("F32");
    }

    [Fact]
    public void ModelQuantize_ToQ8_KeepsTheFingerprint()
    {
        var run = CliProcess.Run(world.Folder, "", "model", "quantize", "--input", "model.gguf", "--output", "q8.gguf", "--type", "q8_0", "--threads", "1");

        run.ExitCode.Should().Be(0, run.Error);
        var prints = CliProcess.Run(world.Folder, "", "model", "fingerprint", "model.gguf", "q8.gguf").Out.Split('\n');
        prints[1][..64].Should().Be(prints[0][..64]);
        File.Delete(world.In("q8.gguf"));
    }

    [Fact]
    public void ModelQuantize_UnknownType_IsWrongUsageAndWritesNothing()
    {
        var before = world.Files();

        var run = CliProcess.Run(world.Folder, "", "model", "quantize", "--input", "model.gguf", "--output", "never.gguf", "--type", "q99");

        run.ExitCode.Should().Be(2);
        run.Error.Should().Contain("q99").And.Contain("q8_0");
        world.Files().Should().Equal(before);
    }

    [Fact]
    public void Generate_Interrupted_ExitsWith130()
    {
        var model = EndlessModel();
        using var process = CliProcess.Start(world.Folder, "generate", "-p", "what", "--model", model, "-n", "60000", "--ctx-size", "65536", "--threads", "1");
        process.WaitUntil(p => p.Output.Length > 0, "the first token");

        process.Interrupt();

        var run = process.Finish();
        run.ExitCode.Should().Be(130);
        run.Error.Should().EndWith("interrupted\n").And.NotContain("   at ");
    }

    [Fact]
    public void Chat_FirstInterruptStopsTheAnswer_SecondLeaves()
    {
        var model = EndlessModel();
        using var process = CliProcess.Start(world.Folder, "chat", "--model", model, "-n", "60000", "--ctx-size", "65536", "--threads", "1");
        process.Type("what\n");
        process.WaitUntil(p => p.Output.Length > 0, "the first token");

        process.Interrupt();
        process.WaitUntil(p => p.Error.Contains("stopped", StringComparison.Ordinal), "the answer's end");
        process.Type("/vector\n");
        process.WaitUntil(p => p.Error.Contains("no vector is attached", StringComparison.Ordinal), "the answer to /vector");

        process.Interrupt();
        process.WaitForExit().Should().Be(130, "at the prompt there is nothing left to stop");
    }

    [Fact]
    public void ModelQuantize_Interrupted_LeavesNothingHalfWritten()
    {
        RandomModel.WriteTo(world.In("large.gguf"), new RandomModel.Settings { Width = 512, Layers = 4, Seed = 11 });
        var before = world.Files();
        using var process = CliProcess.Start(world.Folder, "model", "quantize", "--input", "large.gguf", "--output", "cut.gguf", "--type", "q4_k_m", "--threads", "1");
        process.WaitUntil(_ => Directory.EnumerateFiles(world.Folder, "cut.gguf*").Any(), "the output's beginning");

        process.Interrupt();

        var run = process.Finish();
        run.ExitCode.Should().BeOneOf([0, 130], "it may have been done just before");
        var added = world.Files().Except(before).ToArray();
        added.Should().BeSubsetOf([world.In("cut.gguf")], "no temporary file may stay");
        if (added.Length > 0)
        {
            CliProcess.Run(world.Folder, "", "model", "info", "cut.gguf").ExitCode.Should().Be(0, "what is there is whole");
            File.Delete(added[0]);
        }

        File.Delete(world.In("large.gguf"));
    }

    // Its next-token distribution is so sharp that a greedy answer runs into a loop and never ends by itself.
    private string EndlessModel()
    {
        var path = world.In("endless.gguf");
        if (!File.Exists(path))
        {
            RandomModel.WriteTo(path, new RandomModel.Settings { EmbeddingScale = 4, Seed = 12, Name = "endless" });
        }

        return path;
    }
}
